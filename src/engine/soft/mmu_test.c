/*
 * Paging: every right and every level of every kind of paging structure, with the error codes of
 * SDM 3A 4.7, A and D bits, TLB flushes, accesses across pages, alignment checks, devices.
 *
 * The access is one instruction at FIXTURE_CODE; the page under test is at PAGE.
 */
#include "engine/soft/vcpu_fixture.h"

#include "engine/soft/code_pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

#define PAGE     UINT64_C(0x8040201000) /* nothing else is in its 512 GiB */
#define PAGE_32  0x40201000
#define PHYSICAL 0x300000
#define FULL     (PTE_P | PTE_W | PTE_U)

static struct vcpu_fixture fixture;
static gva_t page; /* under test */

static int setup(void **state)
{
	vcpu_fixture_create(&fixture, 8);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	vcpu_fixture_destroy(*state);
	return 0;
}

enum access { READ, WRITE, FETCH };

/* Runs one access; returns -1 or the vector. */
static int access_page(struct vcpu_fixture *f, enum access access, gva_t address)
{
	struct vcpu *vcpu = f->vcpu;

	vcpu->rip = FIXTURE_CODE;
	vcpu->gpr[X86_RBX] = address;
	switch (access) {
	case READ: FIXTURE_LOAD_CODE(f, 0x8a, 0x03); break;  /* mov al, [rbx] */
	case WRITE: FIXTURE_LOAD_CODE(f, 0x88, 0x03); break; /* mov [rbx], al */
	case FETCH: vcpu->rip = address; break;
	}
	return interpret_try(vcpu);
}

static void expect_fault(struct vcpu_fixture *f, enum access access, uint32_t error)
{
	f->vcpu->cr2 = 0;
	assert_int_equal(access_page(f, access, page + 0x123), X86_PF);
	assert_int_equal(f->vcpu->fault_error, error);
	assert_int_equal(f->vcpu->cr2, page + 0x123);
}

static void expect_success(struct vcpu_fixture *f, enum access access)
{
	f->ram[PHYSICAL + 0x123] = 0x90; /* NOP */
	assert_int_equal(access_page(f, access, page + 0x123), -1);
}

struct right {
	enum fixture_mode mode;
	uint64_t flags;
	enum access access;
	int error; /* -1: permitted */
};

static void checks_rights_at_each_level(void **state)
{
	struct vcpu_fixture *f = *state;
	static const struct right rights[] = {
		{ FIXTURE_LONG_USER, FULL, READ, -1 },
		{ FIXTURE_LONG_USER, FULL, WRITE, -1 },
		{ FIXTURE_LONG_USER, FULL, FETCH, -1 },
		{ FIXTURE_LONG_USER, PTE_P | PTE_W, READ, PF_PRESENT | PF_USER },
		{ FIXTURE_LONG_USER, PTE_P | PTE_W, WRITE, PF_PRESENT | PF_USER | PF_WRITE },
		{ FIXTURE_LONG_USER, PTE_P | PTE_W, FETCH, PF_PRESENT | PF_USER | PF_INSTRUCTION },
		{ FIXTURE_LONG_USER, PTE_P | PTE_U, WRITE, PF_PRESENT | PF_USER | PF_WRITE },
		{ FIXTURE_LONG_USER, PTE_P | PTE_U, READ, -1 },
		{ FIXTURE_LONG_USER, FULL | PTE_NX, FETCH, PF_PRESENT | PF_USER | PF_INSTRUCTION },
		{ FIXTURE_LONG_USER, FULL | PTE_NX, WRITE, -1 },
		{ FIXTURE_LONG_USER, PTE_W | PTE_U, READ, PF_USER },
		{ FIXTURE_LONG_USER, PTE_W | PTE_U, WRITE, PF_USER | PF_WRITE },
		{ FIXTURE_LONG_USER, PTE_W | PTE_U, FETCH, PF_USER | PF_INSTRUCTION },
		{ FIXTURE_LONG, PTE_P | PTE_W, READ, -1 },
		{ FIXTURE_LONG, PTE_P | PTE_W, WRITE, -1 },
		{ FIXTURE_LONG, PTE_P | PTE_W, FETCH, -1 },
		{ FIXTURE_LONG, FULL, FETCH, -1 },
		{ FIXTURE_LONG, PTE_P, WRITE, PF_PRESENT | PF_WRITE },
		{ FIXTURE_LONG, PTE_P | PTE_NX, FETCH, PF_PRESENT | PF_INSTRUCTION },
		{ FIXTURE_LONG, 0, READ, 0 },
		{ FIXTURE_LONG, 0, WRITE, PF_WRITE },
		{ FIXTURE_LONG, 0, FETCH, PF_INSTRUCTION },
		/* Bit 51 is beyond the processor's width. */
		{ FIXTURE_LONG, FULL | BIT(51), READ, PF_PRESENT | PF_RESERVED },
		{ FIXTURE_LONG_USER, FULL | BIT(51), WRITE,
			PF_PRESENT | PF_RESERVED | PF_USER | PF_WRITE },
	};

	for (unsigned level = 1; level <= 4; level++) {
		for (unsigned i = 0; i < ARRAY_SIZE(rights); i++) {
			const struct right *right = &rights[i];
			uint64_t *entry;

			vcpu_fixture_enter(f, right->mode);
			vcpu_fixture_map(f, PAGE, PHYSICAL, FULL);
			entry = vcpu_fixture_entry(f, PAGE, level);
			*entry = (*entry & BITS(50, 12)) | right->flags;
			if (right->error < 0)
				expect_success(f, right->access);
			else
				expect_fault(f, right->access, right->error);
		}
	}
}

static void write_protect_can_be_off(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, PAGE, PHYSICAL, PTE_P | PTE_U);
	f->vcpu->cr0 &= ~CR0_WP;
	expect_success(f, WRITE);
}

static void nx_is_reserved_without_nxe(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, PAGE, PHYSICAL, FULL | PTE_NX);
	f->vcpu->efer &= ~EFER_NXE;
	expect_fault(f, READ, PF_PRESENT | PF_RESERVED);
	/* The I/D bit too needs NXE or SMEP. */
	expect_fault(f, FETCH, PF_PRESENT | PF_RESERVED);
}

static void smep_and_smap(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, PAGE, PHYSICAL, FULL);
	/* The code must be a supervisor page then. */
	vcpu_fixture_map(f, FIXTURE_CODE, FIXTURE_CODE, PTE_P | PTE_W);
	vcpu->cr4 |= CR4_SMEP | CR4_SMAP;
	vcpu_update_mode(vcpu);
	expect_fault(f, FETCH, PF_PRESENT | PF_INSTRUCTION);
	expect_fault(f, READ, PF_PRESENT);
	expect_fault(f, WRITE, PF_PRESENT | PF_WRITE);
	vcpu_set_rflags(vcpu, RFLAGS_AC);
	expect_success(f, READ);
	expect_success(f, WRITE);
	vcpu_set_rflags(vcpu, 0);
	expect_fault(f, READ, PF_PRESENT);
}

static void sets_accessed_and_dirty(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t *entry;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, PAGE, PHYSICAL, FULL);
	entry = vcpu_fixture_entry(f, PAGE, 1);
	expect_success(f, READ);
	assert_int_equal(*entry, PHYSICAL | FULL | PTE_A);
	assert_true(*vcpu_fixture_entry(f, PAGE, 2) & PTE_A);
	assert_true(*vcpu_fixture_entry(f, PAGE, 3) & PTE_A);
	assert_true(*vcpu_fixture_entry(f, PAGE, 4) & PTE_A);
	assert_false(*vcpu_fixture_entry(f, PAGE, 2) & PTE_D);
	/* The entry is cached now, and clean: a write has to set D. */
	expect_success(f, WRITE);
	assert_int_equal(*entry, PHYSICAL | FULL | PTE_A | PTE_D);
	/* A fault sets neither. */
	*entry = PHYSICAL | PTE_P | PTE_W;
	mmu_flush_all(f->vcpu);
	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	vcpu_fixture_map(f, PAGE, PHYSICAL, PTE_P | PTE_W);
	expect_fault(f, WRITE, PF_PRESENT | PF_USER | PF_WRITE);
	assert_int_equal(*vcpu_fixture_entry(f, PAGE, 1), PHYSICAL | PTE_P | PTE_W);
}

static void maps_large_pages(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	*vcpu_fixture_entry(f, PAGE, 2) = 0x200000 | FULL | PTE_PS;
	f->ram[0x200000 + (PAGE & 0x1fffff) + 0x123] = 0x77;
	assert_int_equal(access_page(f, READ, PAGE + 0x123), -1);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 0x77);
	/* Bits 20 to 13 are reserved. */
	*vcpu_fixture_entry(f, PAGE, 2) |= BIT(13);
	mmu_flush_all(f->vcpu);
	expect_fault(f, READ, PF_PRESENT | PF_RESERVED);

	*vcpu_fixture_entry(f, PAGE, 3) = FULL | PTE_PS;
	f->ram[(PAGE & 0x3fffffff) + 0x123] = 0x78;
	mmu_flush_all(f->vcpu);
	assert_int_equal(access_page(f, READ, PAGE + 0x123), -1);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 0x78);
	*vcpu_fixture_entry(f, PAGE, 3) |= BIT(29);
	mmu_flush_all(f->vcpu);
	expect_fault(f, READ, PF_PRESENT | PF_RESERVED);
}

/* What the TLB must keep, may keep and must drop. */
static void flushes(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t *entry;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->cr4 |= CR4_PGE;
	vcpu_fixture_map(f, PAGE, PHYSICAL, FULL | PTE_G);
	vcpu_fixture_map(f, PAGE + 0x1000, PHYSICAL, FULL);
	entry = vcpu_fixture_entry(f, PAGE, 1);
	expect_success(f, READ);
	assert_int_equal(access_page(f, READ, PAGE + 0x1000), -1);
	entry[0] = entry[1] = 0;
	mmu_flush_non_global(f->vcpu);
	assert_int_equal(access_page(f, READ, PAGE + 0x1000), X86_PF);
	expect_success(f, READ);
	mmu_flush_page(f->vcpu, PAGE + 0xfff);
	expect_fault(f, READ, 0);

	/* INVLPG of any address in a large page drops all of it. */
	*vcpu_fixture_entry(f, PAGE, 2) = 0x200000 | FULL | PTE_PS;
	mmu_flush_all(f->vcpu);
	assert_int_equal(access_page(f, READ, PAGE + 0x123), -1);
	*vcpu_fixture_entry(f, PAGE, 2) = 0;
	mmu_flush_page(f->vcpu, PAGE + 0x100000);
	expect_fault(f, READ, 0);
}

/* Has the page mapped, with PCID 1; returns CR3 without it. */
static uint64_t enter_space(struct vcpu_fixture *f)
{
	uint64_t cr3;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->cr4 |= CR4_PCIDE;
	vcpu_fixture_map(f, page, PHYSICAL, FULL);
	cr3 = f->vcpu->cr3 & ~CR3_PCID;
	mmu_space_switch(f->vcpu, cr3 | 1, false);
	return cr3;
}

/* Reads the page with PCID 1, whose entry then changes unseen, and goes to PCID 2. */
static uint64_t leave_space(struct vcpu_fixture *f)
{
	uint64_t cr3 = enter_space(f);

	expect_success(f, READ);
	*vcpu_fixture_entry(f, page, 1) = 0;
	mmu_space_switch(f->vcpu, cr3 | 2, true);
	expect_fault(f, READ, 0);
	return cr3;
}

/* SDM 3A 4.10.4.1. */
static void keeps_entries_of_other_pcids(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t cr3 = leave_space(f);

	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_success(f, READ);
	mmu_space_switch(f->vcpu, cr3 | 2, true);
	expect_fault(f, READ, 0);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_success(f, READ);
	/* What was flushed while it was current is not in the store. */
	mmu_flush_page(f->vcpu, page);
	mmu_space_switch(f->vcpu, cr3 | 2, true);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_fault(f, READ, 0);
}

static void drops_entries_of_other_pcids(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t cr3 = leave_space(f);

	mmu_space_switch(f->vcpu, cr3 | 1, false);
	expect_fault(f, READ, 0);

	cr3 = leave_space(f);
	mmu_space_forget(f->vcpu, 1);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_fault(f, READ, 0);

	cr3 = leave_space(f);
	mmu_flush_all(f->vcpu);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_fault(f, READ, 0);

	/* Other tables with the same PCID. */
	cr3 = leave_space(f);
	for (unsigned i = 0; i < MMU_SPACES; i++)
		f->vcpu->spaces.spaces[i].cr3 ^= BIT(20);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_fault(f, READ, 0);

	/* More spaces than there is room for. */
	cr3 = leave_space(f);
	for (unsigned pcid = 3; pcid < 3 + MMU_SPACES; pcid++)
		mmu_space_switch(f->vcpu, cr3 | pcid, true);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	expect_fault(f, READ, 0);
}

/* A page that came to hold code meanwhile is not written past the look at it. */
static void looks_for_code_in_pages_of_other_pcids(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t cr3 = enter_space(f);

	expect_success(f, WRITE);
	assert_true(f->vcpu->tlb_data[tlb_index(page)].write_tag == page);
	mmu_space_switch(f->vcpu, cr3 | 2, true);
	code_pages_add(f->vcpu, PHYSICAL, 64);
	mmu_space_switch(f->vcpu, cr3 | 1, true);
	assert_true(f->vcpu->tlb_data[tlb_index(page)].read_tag == page);
	assert_true(f->vcpu->tlb_data[tlb_index(page)].write_tag == TLB_INVALID);
	expect_success(f, WRITE);
}

static void crosses_pages(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, PAGE, PHYSICAL, FULL);
	vcpu_fixture_map(f, PAGE + 0x1000, PHYSICAL + 0x5000, FULL);
	vcpu->gpr[X86_RBX] = PAGE + 0xffd;
	vcpu->gpr[X86_RAX] = 0x1122334455667788;
	FIXTURE_LOAD_CODE(f, 0x48, 0x89, 0x03); /* mov [rbx], rax */
	assert_int_equal(interpret_try(vcpu), -1);
	assert_memory_equal(f->ram + PHYSICAL + 0xffd, "\x88\x77\x66", 3);
	assert_memory_equal(f->ram + PHYSICAL + 0x5000, "\x55\x44\x33\x22\x11", 5);
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x0b); /* mov rcx, [rbx] */
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RCX], 0x1122334455667788);

	/* If the second page faults, the first is untouched. */
	memset(f->ram + PHYSICAL + 0xffd, 0, 3);
	vcpu_fixture_map(f, PAGE + 0x1000, 0, 0);
	vcpu->rip = FIXTURE_CODE;
	FIXTURE_LOAD_CODE(f, 0x48, 0x89, 0x03);
	assert_int_equal(interpret_try(vcpu), X86_PF);
	assert_int_equal(vcpu->cr2, PAGE + 0x1000);
	assert_int_equal(vcpu->fault_error, PF_WRITE);
	assert_memory_equal(f->ram + PHYSICAL + 0xffd, "\0\0\0", 3);
}

static void checks_alignment(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	vcpu->gpr[X86_RBX] = 0x200001;
	vcpu->cr0 |= CR0_AM;
	vcpu_set_rflags(vcpu, RFLAGS_AC);
	FIXTURE_LOAD_CODE(f, 0x8b, 0x03); /* mov eax, [rbx] */
	assert_int_equal(interpret_try(vcpu), X86_AC);
	assert_int_equal(vcpu->fault_error, 0);
	vcpu->gpr[X86_RBX] = 0x200004;
	assert_int_equal(interpret_try(vcpu), -1);
	/* Not without RFLAGS.AC. */
	vcpu->gpr[X86_RBX] = 0x200001;
	vcpu->rip = FIXTURE_CODE;
	vcpu_set_rflags(vcpu, 0);
	assert_int_equal(interpret_try(vcpu), -1);
}

static void reaches_devices(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu->gpr[X86_RBX] = FIXTURE_STOP;
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x03); /* mov rax, [rbx] */
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RAX], 0x1122334455667788);
	FIXTURE_LOAD_CODE(f, 0x88, 0x03);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_true(vcpu->requests & REQUEST_KICK);
	/* Beyond RAM nothing answers. */
	vcpu_fixture_map(f, PAGE, 0x30000000, FULL);
	vcpu->gpr[X86_RBX] = PAGE;
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x03);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RAX], UINT64_MAX);
}

/* What the page tables say of a device's page is kept as it is for RAM. */
static void keeps_devices_pages(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	const uint64_t *misses = vcpu->counters.tlb_misses;
	uint64_t *entry, reads;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, PAGE, FIXTURE_STOP, PTE_P | PTE_U);
	entry = vcpu_fixture_entry(f, PAGE, 1);
	assert_int_equal(access_page(f, READ, PAGE), -1);
	assert_int_equal(vcpu->gpr[X86_RAX] & 0xff, 0x88);
	reads = misses[MMU_READ];
	vcpu->gpr[X86_RAX] = 0;
	assert_int_equal(access_page(f, READ, PAGE), -1);
	assert_int_equal(vcpu->gpr[X86_RAX] & 0xff, 0x88);
	assert_int_equal(misses[MMU_READ], reads);
	/* Read-only, and for nobody else: not for fetches either. */
	assert_int_equal(access_page(f, WRITE, PAGE), X86_PF);
	assert_false(vcpu->requests & REQUEST_KICK);
	/* Clean: the first write sets D. */
	*entry |= PTE_W;
	mmu_flush_page(vcpu, PAGE);
	assert_int_equal(access_page(f, READ, PAGE), -1);
	assert_int_equal(*entry, FIXTURE_STOP | FULL | PTE_A);
	assert_int_equal(access_page(f, WRITE, PAGE), -1);
	assert_true(vcpu->requests & REQUEST_KICK);
	assert_int_equal(*entry, FIXTURE_STOP | FULL | PTE_A | PTE_D);
	atomic_store(&vcpu->requests, 0);
	reads = misses[MMU_WRITE];
	assert_int_equal(access_page(f, WRITE, PAGE), -1);
	assert_true(vcpu->requests & REQUEST_KICK);
	assert_int_equal(misses[MMU_WRITE], reads);
	atomic_store(&vcpu->requests, 0);
	/* Dropped by INVLPG, and RAM afterwards. */
	*entry = PHYSICAL | FULL;
	mmu_flush_page(vcpu, PAGE);
	f->ram[PHYSICAL] = 0x5a;
	assert_int_equal(access_page(f, READ, PAGE), -1);
	assert_int_equal(vcpu->gpr[X86_RAX] & 0xff, 0x5a);
	vcpu->gpr[X86_RAX] = 0xa5;
	assert_int_equal(access_page(f, WRITE, PAGE), -1);
	assert_int_equal(f->ram[PHYSICAL], 0xa5);
	assert_false(vcpu->requests & REQUEST_KICK);
}

/* 32-bit paging: 4 KiB, 4 MiB, PSE-36. PAE: 4 KiB and 2 MiB. The stack and code stay mapped. */
static void pages_in_protected_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint32_t *directory = (uint32_t *)(f->ram + FIXTURE_TABLES);
	uint32_t *table = (uint32_t *)(f->ram + FIXTURE_TABLES + 0x1000);
	uint64_t *directory_pae = (uint64_t *)(f->ram + FIXTURE_TABLES + 0x2000);

	page = PAGE_32;
	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	memset(f->ram + FIXTURE_TABLES, 0, 0x3000);
	directory[0] = FULL | PTE_PS;
	directory[PAGE_32 >> 22] = (FIXTURE_TABLES + 0x1000) | FULL;
	table[PAGE_32 >> 12 & 0x3ff] = PHYSICAL | FULL;
	vcpu->cr3 = FIXTURE_TABLES;
	vcpu->cr4 |= CR4_PSE;
	vcpu->cr0 |= CR0_PG | CR0_WP;
	vcpu_update_mode(vcpu);
	mmu_flush_all(vcpu);
	expect_success(f, READ);
	assert_int_equal(table[PAGE_32 >> 12 & 0x3ff], PHYSICAL | FULL | PTE_A);
	table[PAGE_32 >> 12 & 0x3ff] = PHYSICAL | PTE_P;
	mmu_flush_all(vcpu);
	expect_fault(f, WRITE, PF_PRESENT | PF_WRITE);
	table[PAGE_32 >> 12 & 0x3ff] = 0;
	mmu_flush_all(vcpu);
	/* No NX, no SMEP: the I/D bit stays clear. */
	expect_fault(f, FETCH, 0);
	/* Bits 20 to 13 are address bits 39 to 32, bit 21 is reserved. */
	directory[PAGE_32 >> 22] = FULL | PTE_PS | BIT(21);
	mmu_flush_all(vcpu);
	expect_fault(f, READ, PF_PRESENT | PF_RESERVED);
	directory[PAGE_32 >> 22] = FULL | PTE_PS | BIT(13);
	mmu_flush_all(vcpu);
	assert_int_equal(access_page(f, READ, PAGE_32), -1);
	assert_int_equal(vcpu->gpr[X86_RAX] & 0xff, 0xff);

	directory_pae[0] = FULL | PTE_PS;
	directory_pae[1] = 0x200000 | FULL | PTE_PS;
	vcpu->cr4 |= CR4_PAE;
	vcpu->pdpte[0] = (FIXTURE_TABLES + 0x2000) | PTE_P;
	vcpu->pdpte[1] = 0;
	mmu_flush_all(vcpu);
	f->ram[0x212345] = 0x5a;
	assert_int_equal(access_page(f, READ, 0x212345), -1);
	assert_int_equal(vcpu->gpr[X86_RAX] & 0xff, 0x5a);
	expect_fault(f, READ, 0);
	vcpu->pdpte[1] = (FIXTURE_TABLES + 0x2000) | PTE_P;
	directory_pae[1] = FULL | PTE_PS | BIT(62);
	mmu_flush_all(vcpu);
	expect_fault(f, READ, PF_PRESENT | PF_RESERVED);
}

static void drops_writes_to_rom(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->machine.memory.regions[0].place = RAM_ROM;
	f->ram[0x280000] = 0x42;
	vcpu_fixture_load(f, FIXTURE_CODE, "\x88\x03", 2);
	f->vcpu->gpr[X86_RBX] = 0x280000;
	assert_int_equal(interpret_try(f->vcpu), -1);
	assert_int_equal(f->ram[0x280000], 0x42);
	f->machine.memory.regions[0].place = RAM_WRITABLE;
}

static int use_long_page(void **state)
{
	(void)state;
	page = PAGE;
	return 0;
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup(function, use_long_page)
	const struct CMUnitTest tests[] = {
		TEST(checks_rights_at_each_level),
		TEST(write_protect_can_be_off),
		TEST(nx_is_reserved_without_nxe),
		TEST(smep_and_smap),
		TEST(sets_accessed_and_dirty),
		TEST(maps_large_pages),
		TEST(flushes),
		TEST(keeps_entries_of_other_pcids),
		TEST(drops_entries_of_other_pcids),
		TEST(looks_for_code_in_pages_of_other_pcids),
		TEST(crosses_pages),
		TEST(checks_alignment),
		TEST(reaches_devices),
		TEST(keeps_devices_pages),
		TEST(pages_in_protected_mode),
		TEST(drops_writes_to_rom),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
