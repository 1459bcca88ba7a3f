/*
 * System management mode: what entry saves and sets (APM 2, tables 10-1 and 10-3), RSM, what waits
 * meanwhile, and memory that nobody else sees.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/debug.h"
#include "engine/soft/smm.h"
#include "engine/soft/vector.h"
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>

#define SMBASE   0x30000
#define HANDLER  (SMBASE + 0x8000)
#define MAP      (SMBASE + 0xfe00)
#define TSEG     UINT64_C(0x800000) /* behind the fixture's 8 MiB */
#define NEW_BASE (TSEG - 0x8000)    /* its handler is TSEG's first byte */

struct fixture {
	struct vcpu_fixture vcpu;
	struct ram_region *tseg;
};

static struct fixture fixture;

static void changed(void *context, const struct ram_region *region, uint64_t from)
{
	struct vcpu_fixture *f = context;

	code_pages_moved(&f->engine, region, from);
	vcpu_request(f->vcpu, REQUEST_FLUSH_TLB);
}

static int setup(void **state)
{
	struct guest_memory *memory = &fixture.vcpu.machine.memory;

	vcpu_fixture_create(&fixture.vcpu, 8);
	fixture.vcpu.machine.has_smm = true;
	memory->changed = changed;
	memory->written_context = &fixture.vcpu;
	fixture.tseg = guest_memory_add_movable(memory, 0x10000, NULL);
	guest_memory_place(memory, fixture.tseg, TSEG, RAM_SMM);
	vcpu_fixture_enter(&fixture.vcpu, FIXTURE_LONG);
	fixture.vcpu.vcpu->smbase = SMBASE;
	*state = &fixture.vcpu;
	return 0;
}

static int teardown(void **state)
{
	vcpu_fixture_destroy(*state);
	return 0;
}

static void load_handler(struct vcpu_fixture *f, const char *code, unsigned size)
{
	vcpu_fixture_load(f, HANDLER, code, size);
}

static uint64_t saved(struct vcpu_fixture *f, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, f->ram + SMBASE + offset, size);
	return value;
}

static void put(struct vcpu_fixture *f, unsigned offset, uint64_t value, unsigned size)
{
	vcpu_fixture_load(f, SMBASE + offset, &value, size);
}

static void steps(struct vcpu_fixture *f, unsigned count)
{
	while (count-- > 0)
		assert_true(interpret_step(f->vcpu));
}

static void test_the_save_map(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	const uint64_t rip = vcpu->rip, cr0 = vcpu->cr0, cr3 = vcpu->cr3, cr4 = vcpu->cr4;

	for (unsigned i = 0; i < 16; i++)
		vcpu->gpr[i] = 0x1111111100000000u + i;
	vcpu->dr6 = DR6_ONES | DR6_BS;
	vcpu_set_rflags(vcpu, RFLAGS_IF | RFLAGS_CF);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	/* RAX is the last, R15 at FF80H. */
	assert_int_equal(saved(f, 0xfff8, 8), 0x1111111100000000u);
	assert_int_equal(saved(f, 0xff80, 8), 0x111111110000000fu);
	assert_int_equal(saved(f, 0xffd8, 8), 0x1111111100000004u);
	assert_int_equal(saved(f, 0xff78, 8), rip);
	assert_int_equal(saved(f, 0xff70, 8), RFLAGS_ONE | RFLAGS_IF | RFLAGS_CF);
	assert_int_equal(saved(f, 0xff58, 8), cr0);
	assert_int_equal(saved(f, 0xff50, 8), cr3);
	assert_int_equal(saved(f, 0xff48, 8), cr4);
	assert_int_equal(saved(f, 0xff68, 8), DR6_ONES | DR6_BS);
	assert_int_equal(saved(f, 0xff60, 8), DR7_ONES);
	assert_int_equal(saved(f, 0xfed0, 8) & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME);
	assert_int_equal(saved(f, 0xff00, 4), SMBASE);
	assert_int_equal(saved(f, 0xfefc, 4), 0x20064);
	assert_int_equal(saved(f, 0xfec9, 1), 0);
	assert_int_equal(saved(f, 0xfe10, 2), FIXTURE_CS64);
	assert_int_equal(
		saved(f, 0xfe12, 2) & 0x20ff, 0x209b); /* L; present code, read, accessed */
	assert_int_equal(saved(f, 0xfe34, 4), UINT32_MAX);
	assert_int_equal(saved(f, 0xfe64, 2), FIXTURE_GDT_LIMIT);
	assert_int_equal(saved(f, 0xfe68, 8), FIXTURE_GDT);
	assert_int_equal(saved(f, 0xfe88, 8), FIXTURE_IDT);
	assert_int_equal(saved(f, 0xfe90, 2), FIXTURE_TR);
	assert_int_equal(saved(f, 0xfe98, 8), FIXTURE_TSS);
}

static void test_where_the_handler_starts(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu->dr7 = DR7_ONES | 1;
	vcpu->cr0 |= CR0_TS | CR0_WP;
	vcpu_update_mode(vcpu);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	assert_true(vcpu->smm);
	assert_int_equal(vcpu->rip, 0x8000);
	assert_int_equal(vcpu->segment[X86_CS].selector, 0x3000);
	assert_int_equal(vcpu->segment[X86_CS].base, SMBASE);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		assert_int_equal(vcpu->segment[i].limit, UINT32_MAX);
	assert_int_equal(vcpu->segment[X86_DS].selector, 0);
	assert_int_equal(vcpu->segment[X86_DS].base, 0);
	assert_int_equal(vcpu_rflags(vcpu), RFLAGS_ONE);
	assert_int_equal(vcpu->cr0 & (CR0_PE | CR0_EM | CR0_TS | CR0_PG), 0);
	assert_true(vcpu->cr0 & CR0_WP);
	assert_int_equal(vcpu->cr4, 0);
	assert_int_equal(vcpu->efer, 0);
	assert_int_equal(vcpu->dr7, DR7_ONES);
	assert_int_equal(vcpu->mode.insn, INSN_MODE_16);
	assert_true(vcpu->nmi_blocked);
}

static void test_rsm_goes_back(void **state)
{
	struct vcpu_fixture *f = *state;
	struct cpu_state *before = aligned_alloc(64, align_up(sizeof(*before), 64));
	struct cpu_state *after = aligned_alloc(64, align_up(sizeof(*after), 64));

	load_handler(f, "\x31\xc0\x31\xdb\x0f\xaa", 6); /* xor ax, ax; xor bx, bx; rsm */
	f->vcpu->gpr[X86_RAX] = 0x123456789abcdef0;
	f->vcpu->segment[X86_FS].base = UINT64_C(0xffff800000001000);
	f->vcpu->segment[X86_GS].attributes = SEG_UNUSABLE;
	vcpu_set_rflags(f->vcpu, RFLAGS_IF | RFLAGS_OF | RFLAGS_ZF);
	vector_leave(f->vcpu);
	vcpu_get_state(f->vcpu, before);
	vcpu_request(f->vcpu, REQUEST_SMI);
	steps(f, 4);
	assert_false(f->vcpu->smm);
	vcpu_get_state(f->vcpu, after);
	after->tsc = before->tsc;
	after->tsc_time_ns = before->tsc_time_ns;
	assert_memory_equal(after, before, sizeof(*before));
	free(before);
	free(after);
}

/* #UD, as for any instruction that is not there. */
static void test_rsm_is_smms_alone(void **state)
{
	struct vcpu_fixture *f = *state;

	FIXTURE_LOAD_CODE(f, 0x0f, 0xaa);
	assert_int_equal(interpret_try(f->vcpu), X86_UD);
}

static void test_memory_that_others_do_not_see(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t secret = 0x5ec2e7, byte;

	memcpy(fixture.tseg->host, &secret, sizeof(secret));
	vcpu_fixture_map(f, 0x40000000, TSEG, PTE_P | PTE_W);
	/* mov rax, [rbx]; mov [rbx], rcx */
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x03, 0x48, 0x89, 0x0b);
	f->vcpu->gpr[X86_RBX] = 0x40000000;
	steps(f, 2);
	assert_int_equal(f->vcpu->gpr[X86_RAX], UINT64_MAX);
	assert_memory_equal(fixture.tseg->host, &secret, sizeof(secret));
	/* Devices neither. */
	assert_int_equal(guest_memory_read(&f->machine.memory, TSEG, &byte, 1), -EFAULT);
	assert_int_equal(guest_memory_write(&f->machine.memory, TSEG, &byte, 1), -EFAULT);
	assert_null(guest_memory_host(&f->machine.memory, TSEG, 1));

	/* In SMM: mov eax, [ebx]; mov [ebx + 4], ecx; rsm, without paging. */
	load_handler(f, "\x67\x66\x8b\x03\x67\x66\x89\x4b\x04\x0f\xaa", 11);
	f->vcpu->gpr[X86_RBX] = TSEG;
	f->vcpu->gpr[X86_RCX] = 0x77;
	vcpu_request(f->vcpu, REQUEST_SMI);
	steps(f, 2);
	assert_int_equal((uint32_t)f->vcpu->gpr[X86_RAX], secret);
	steps(f, 1);
	assert_int_equal(fixture.tseg->host[4], 0x77);
	steps(f, 1);
	/* The TLB keeps nothing of it. */
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x03);
	f->vcpu->gpr[X86_RBX] = 0x40000000;
	steps(f, 1);
	assert_int_equal(f->vcpu->gpr[X86_RAX], UINT64_MAX);
}

/* The base moves at RSM; the same code is not to be found from outside, nor the old after a write.
 */
static void test_smbase_and_code_in_tseg(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	load_handler(f, "\x0f\xaa", 2);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	put(f, 0xff00, NEW_BASE, 4);
	steps(f, 1);
	assert_false(vcpu->smm);
	assert_int_equal(vcpu->smbase, NEW_BASE);
	/* inc ax; inc byte cs:[8000h]: the next time it is a DEC BX... */
	memcpy(fixture.tseg->host, "\x40\x2e\xc6\x06\x00\x80\x4b\x0f\xaa", 9);
	vcpu->gpr[X86_RAX] = 5;
	vcpu->gpr[X86_RBX] = 5;
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 3);
	assert_int_equal(vcpu->gpr[X86_RAX], 6);
	vcpu->rip = vcpu->next_rip = 0x8000;
	steps(f, 1);
	assert_int_equal(vcpu->gpr[X86_RBX], 4);
	assert_true(vcpu->smm);
	vcpu->rip = vcpu->next_rip = 0x8007;
	steps(f, 1);
	assert_false(vcpu->smm);
	/* What the handler did to the registers is undone. */
	assert_int_equal(vcpu->gpr[X86_RAX], 5);
}

static void test_what_waits(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	const uint64_t rip = vcpu->rip;

	load_handler(f, "\x90\x90\x0f\xaa", 4);
	FIXTURE_LOAD_CODE(f, 0x90, 0x90);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	/* A second one, an NMI and an INIT: none of them disturbs the handler. */
	vcpu_request(vcpu, REQUEST_SMI | REQUEST_NMI | REQUEST_INIT);
	steps(f, 1);
	assert_int_equal(vcpu->rip, 0x8001);
	steps(f, 2);
	assert_false(vcpu->smm);
	assert_int_equal(vcpu->rip, rip);
	assert_false(vcpu->nmi_blocked);
	/* INIT comes first, and takes the others with it. */
	steps(f, 1);
	assert_false(vcpu->cr0 & CR0_PE);
	assert_int_equal(atomic_load(&vcpu->requests) & (REQUEST_SMI | REQUEST_NMI), 0);
	assert_int_equal(vcpu->smbase, SMBASE);
	assert_false(vcpu->smm);

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu->smbase = SMBASE;
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 3);
	assert_false(vcpu->smm);
	steps(f, 1);
	assert_true(vcpu->smm);
}

static void test_an_nmi_that_was_blocked_stays_so(void **state)
{
	struct vcpu_fixture *f = *state;

	load_handler(f, "\x0f\xaa", 2);
	f->vcpu->nmi_blocked = true;
	vcpu_request(f->vcpu, REQUEST_SMI);
	steps(f, 2);
	assert_false(f->vcpu->smm);
	assert_true(f->vcpu->nmi_blocked);
}

/* It goes back to the halt, unless the handler says otherwise. */
static void test_from_a_halt(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	load_handler(f, "\x0f\xaa", 2);
	FIXTURE_LOAD_CODE(f, 0xf4, 0x90);
	steps(f, 1);
	assert_int_equal(vcpu->activity, CPU_HALTED);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	assert_true(vcpu->smm);
	assert_int_equal(vcpu->activity, CPU_RUNNING);
	assert_int_equal(saved(f, 0xfec9, 1), 1);
	assert_int_equal(saved(f, 0xff78, 8), FIXTURE_CODE + 1);
	steps(f, 1);
	assert_int_equal(vcpu->activity, CPU_HALTED);
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 1);
	put(f, 0xfec9, 0, 1);
	steps(f, 1);
	assert_int_equal(vcpu->activity, CPU_RUNNING);
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 1);
}

/* Behind STI and MOV SS it waits for one instruction. */
static void test_not_in_a_shadow(void **state)
{
	struct vcpu_fixture *f = *state;

	FIXTURE_LOAD_CODE(f, 0xfb, 0x90, 0x90); /* sti; nop; nop */
	steps(f, 1);
	vcpu_request(f->vcpu, REQUEST_SMI);
	steps(f, 1);
	assert_false(f->vcpu->smm);
	assert_int_equal(f->vcpu->rip, FIXTURE_CODE + 2);
	steps(f, 1);
	assert_true(f->vcpu->smm);
}

/* One field of the map at a time is not what a processor can hold: shutdown. */
static void test_impossible_states(void **state)
{
	static const struct {
		uint16_t offset;
		uint64_t value;
	} rows[] = {
		{ 0xff58, UINT64_C(0x180000031) },        /* CR0: bit 32 */
		{ 0xff58, 0x80000010 },                   /* PG without PE */
		{ 0xff58, 0xa0000011 },                   /* NW without CD */
		{ 0xff48, 0x400 },                        /* CR4: long mode without PAE */
		{ 0xff48, UINT64_C(0x8000000000000020) }, /* a reserved bit */
		{ 0xfed0, UINT64_C(0x10000000500) },      /* EFER */
		{ 0xff50, UINT64_C(0x4000000000000000) }, /* CR3 */
		{ 0xff78, UINT64_C(0x800000000000) },     /* RIP is not canonical */
		{ 0xfe48, UINT64_C(0x800000000000) },     /* FS's base */
		{ 0xfe68, UINT64_C(0x800000000000) },     /* GDTR's */
		{ 0xff70, RFLAGS_VM | RFLAGS_ONE },       /* virtual-8086 mode in long mode */
		{ 0xfe10, UINT64_C(0xffffffff609b0008) }, /* CS: L and D */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vcpu_fixture *f = *state;

		vcpu_fixture_enter(f, FIXTURE_LONG);
		f->vcpu->smbase = SMBASE;
		f->vcpu->smm = f->vcpu->shutdown = false;
		load_handler(f, "\x0f\xaa", 2);
		vcpu_request(f->vcpu, REQUEST_SMI);
		steps(f, 1);
		put(f, rows[i].offset, rows[i].value, 8);
		if (interpret_step(f->vcpu))
			fail_msg("RSM took row %u", i);
		assert_true(f->vcpu->shutdown);
	}
}

/* As a guest can do on a machine without SMM: nothing happens. */
static void test_a_machine_without_smm(void **state)
{
	struct vcpu_fixture *f = *state;

	f->machine.has_smm = false;
	smm_request(f->vcpu);
	assert_int_equal(atomic_load(&f->vcpu->requests) & REQUEST_SMI, 0);
	f->machine.has_smm = true;
	smm_request(f->vcpu);
	assert_int_equal(atomic_load(&f->vcpu->requests) & REQUEST_SMI, REQUEST_SMI);
}

/* A guest moves the APIC over SMM's memory, to have the handler read its registers instead. */
static void test_the_apic_does_not_hide_tseg(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu->apic_base = TSEG | APIC_BASE_ENABLE;
	memcpy(fixture.tseg->host + 0x20, "\x78\x56\x34\x12", 4);
	load_handler(f, "\x67\x66\x8b\x43\x20", 5); /* mov eax, [ebx + 20h] */
	vcpu->gpr[X86_RBX] = TSEG;
	vcpu_request(vcpu, REQUEST_SMI);
	steps(f, 2);
	assert_int_equal((uint32_t)vcpu->gpr[X86_RAX], 0x12345678);
}

static void test_state_in_smm_is_whole(void **state)
{
	struct vcpu_fixture *f = *state;
	struct cpu_state *before = aligned_alloc(64, align_up(sizeof(*before), 64));
	struct cpu_state *after = aligned_alloc(64, align_up(sizeof(*after), 64));

	vcpu_request(f->vcpu, REQUEST_SMI);
	steps(f, 1);
	vcpu_request(f->vcpu, REQUEST_SMI | REQUEST_INIT);
	vector_leave(f->vcpu);
	vcpu_get_state(f->vcpu, before);
	assert_true(before->smm && before->smi_pending && before->init_pending);
	assert_int_equal(before->smbase, SMBASE);
	assert_true(state_check(&cpu_state_table, before, NULL));
	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_set_state(f->vcpu, before);
	vcpu_get_state(f->vcpu, after);
	after->tsc = before->tsc;
	after->tsc_time_ns = before->tsc_time_ns;
	assert_memory_equal(after, before, sizeof(*before));
	free(before);
	free(after);
}

#define smm_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		smm_test(test_the_save_map),
		smm_test(test_where_the_handler_starts),
		smm_test(test_rsm_goes_back),
		smm_test(test_rsm_is_smms_alone),
		smm_test(test_memory_that_others_do_not_see),
		smm_test(test_smbase_and_code_in_tseg),
		smm_test(test_what_waits),
		smm_test(test_an_nmi_that_was_blocked_stays_so),
		smm_test(test_from_a_halt),
		smm_test(test_not_in_a_shadow),
		smm_test(test_impossible_states),
		smm_test(test_a_machine_without_smm),
		smm_test(test_the_apic_does_not_hide_tseg),
		smm_test(test_state_in_smm_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
