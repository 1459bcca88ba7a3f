/*
 * System instructions: control registers and mode switches, MSRs by instruction, TLB invalidation,
 * ports with their permissions, what each raises (SDM 2 and 3A).
 */
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NONE     (-1)
#define SHUTDOWN (-2)

#define HANDLERS 0x200000 /* a HLT for each vector, 16 bytes apart */
#define DATA     0x300000
#define PORT     0x5678

static struct vcpu_fixture fixture;
static struct vcpu *cpu;

static uint64_t port_value;
static unsigned port_reads, port_writes;

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	(void)device, (void)offset;
	return (0x44332211 + port_reads++) & byte_mask(size);
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)device, (void)offset, (void)size;
	port_value = value;
	port_writes++;
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 4 };

static int set_up(void **context)
{
	(void)context;
	vcpu_fixture_create(&fixture, 8);
	cpu = fixture.vcpu;
	port_reads = port_writes = 0;
	address_space_map(&fixture.machine.pio,
		&(struct io_region){
			.base = PORT, .size = 8, .ops = &port_ops, .name = "test port" });
	return 0;
}

static int tear_down(void **context)
{
	(void)context;
	vcpu_fixture_destroy(&fixture);
	return 0;
}

static void enter(enum fixture_mode mode)
{
	vcpu_fixture_enter(&fixture, mode);
	for (unsigned vector = 0; vector < 32 && mode != FIXTURE_REAL; vector++) {
		bool long_mode = cpu->mode.long_mode;

		vcpu_fixture_gate(&fixture, vector, long_mode ? FIXTURE_CS64 : FIXTURE_CS32,
			HANDLERS + 16 * vector, SEG_TYPE_INT, 0, 0);
		vcpu_fixture_load(&fixture, HANDLERS + 16 * vector, &(uint8_t){ 0xf4 }, 1);
	}
}

/* Runs the instruction; returns the vector that it raised, NONE if it completed. */
static int run_bytes(const uint8_t *bytes, unsigned size)
{
	uint64_t start = cpu->rip;
	uint8_t code[32];

	memset(code, 0xf4, sizeof(code));
	memcpy(code, bytes, size);
	vcpu_fixture_load(&fixture, start, code, sizeof(code));
	if (!vcpu_fixture_run(&fixture, 300))
		return SHUTDOWN;
	if (cpu->rip >= HANDLERS && cpu->rip < HANDLERS + 32 * 16)
		return (int)(cpu->rip - HANDLERS) / 16;
	assert_int_equal(cpu->rip, start + size);
	cpu->rip = start;
	return NONE;
}

#define RUN(...)                                                                                   \
	run_bytes((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

#define MOV_CR0_RAX 0x0f, 0x22, 0xc0
#define MOV_CR3_RAX 0x0f, 0x22, 0xd8
#define MOV_CR4_RAX 0x0f, 0x22, 0xe0
#define MOV_RAX_CR4 0x0f, 0x20, 0xe0

/* In a fresh mode, RAX holds `value` and the instruction at `code` runs. */
static int write_in(enum fixture_mode mode, uint64_t value, const uint8_t *code, unsigned size)
{
	enter(mode);
	cpu->gpr[X86_RAX] = value;
	return run_bytes(code, size);
}

#define WRITE(mode, value, ...)                                                                    \
	write_in(mode, value, (const uint8_t[]){ __VA_ARGS__ },                                    \
		sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void test_cr0(void **context)
{
	const uint64_t base = CR0_PE | CR0_PG | CR0_ET | CR0_WP;

	(void)context;
	assert_int_equal(WRITE(FIXTURE_LONG, base | CR0_TS, MOV_CR0_RAX), NONE);
	assert_int_equal(cpu->cr0, base | CR0_TS);
	assert_int_equal(WRITE(FIXTURE_LONG, BIT(32) | base, MOV_CR0_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_LONG, base & ~CR0_PE, MOV_CR0_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_LONG, base | CR0_NW, MOV_CR0_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_LONG, base | CR0_NW | CR0_CD, MOV_CR0_RAX), NONE);
	/* Paging cannot be left from 64-bit code. */
	assert_int_equal(WRITE(FIXTURE_LONG, base & ~CR0_PG, MOV_CR0_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_LONG_USER, base, MOV_CR0_RAX), X86_GP);
	/* Reserved bits of the low half are ignored, ET reads 1. */
	assert_int_equal(WRITE(FIXTURE_PROTECTED, CR0_PE | BIT(6), MOV_CR0_RAX), NONE);
	assert_int_equal(cpu->cr0, CR0_PE | CR0_ET);
}

/* SDM 3A 10.8.5: PAE, CR3, LME, then PG sets LMA; and back. */
static void test_long_mode_is_entered_and_left(void **context)
{
	(void)context;
	enter(FIXTURE_COMPATIBILITY_USER);
	/* Supervisor compatibility code: paging may go off, LMA with it. */
	cpu->segment[X86_SS].attributes &= ~(uint32_t)SEG_DPL;
	cpu->segment[X86_CS].attributes &= ~(uint32_t)SEG_DPL;
	vcpu_update_mode(cpu);
	assert_int_equal(cpu->mode.insn, INSN_MODE_32);
	assert_int_equal(cpu->mode.cpl, 0);
	cpu->gpr[X86_RAX] = CR0_PE | CR0_ET;
	assert_int_equal(RUN(MOV_CR0_RAX), NONE);
	assert_int_equal(cpu->efer & (EFER_LMA | EFER_LME), EFER_LME);
	assert_false(cpu->mode.long_mode);
	/* And on again. */
	cpu->gpr[X86_RAX] = CR0_PE | CR0_ET | CR0_PG;
	assert_int_equal(RUN(MOV_CR0_RAX), NONE);
	assert_int_equal(cpu->efer & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME);
	assert_true(cpu->mode.long_mode);
}

static void test_long_mode_needs_pae(void **context)
{
	(void)context;
	enter(FIXTURE_PROTECTED);
	cpu->efer = EFER_LME;
	cpu->cr4 &= ~CR4_PAE;
	cpu->gpr[X86_RAX] = CR0_PE | CR0_ET | CR0_PG;
	assert_int_equal(RUN(MOV_CR0_RAX), X86_GP);
	assert_int_equal(cpu->efer, EFER_LME);
}

static void test_cr4(void **context)
{
	(void)context;
	assert_int_equal(WRITE(FIXTURE_LONG, CR4_PAE | CR4_PGE, MOV_CR4_RAX), NONE);
	assert_int_equal(cpu->cr4, CR4_PAE | CR4_PGE);
	assert_int_equal(WRITE(FIXTURE_LONG, CR4_PGE, MOV_CR4_RAX), X86_GP); /* PAE holds it */
	assert_int_equal(WRITE(FIXTURE_LONG, CR4_PAE | CR4_LA57, MOV_CR4_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_LONG, CR4_PAE | BIT(13), MOV_CR4_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_LONG, CR4_PAE | BIT(33), MOV_CR4_RAX), X86_GP);
	assert_int_equal(WRITE(FIXTURE_PROTECTED, CR4_PCIDE, MOV_CR4_RAX), X86_GP);
}

static void test_pcid(void **context)
{
	(void)context;
	if (!cpu_model_has(&fixture.model, CPU_FEATURE_PCID))
		skip();
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RAX] = cpu->cr4 | CR4_PCIDE;
	assert_int_equal(RUN(MOV_CR4_RAX), NONE);
	cpu->gpr[X86_RAX] = cpu->cr3 | 5 | CR3_NO_FLUSH;
	assert_int_equal(RUN(MOV_CR3_RAX), NONE);
	assert_int_equal(cpu->cr3, FIXTURE_TABLES | 5);
	/* PCIDE is set from PCID 0 only. */
	cpu->gpr[X86_RAX] = cpu->cr4 & ~CR4_PCIDE;
	assert_int_equal(RUN(MOV_CR4_RAX), NONE);
	cpu->gpr[X86_RAX] = cpu->cr4 | CR4_PCIDE;
	assert_int_equal(RUN(MOV_CR4_RAX), X86_GP);
}

static void test_cr3_reserved_bits(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RAX] = cpu->cr3 | BIT(fixture.model.physical_address_bits);
	assert_int_equal(RUN(MOV_CR3_RAX), X86_GP);
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RAX] = cpu->cr3 | CR3_NO_FLUSH; /* reserved without PCIDE */
	assert_int_equal(RUN(MOV_CR3_RAX), X86_GP);
}

/* SDM 3A 4.4.1: reserved bits of a present entry raise, those of others do not matter. */
static void test_pae_pointers(void **context)
{
	uint64_t pointers[4] = { DATA + 0x1001, 0x1e6, DATA + 0x2001, 0 };

	(void)context;
	enter(FIXTURE_PROTECTED);
	cpu->cr4 |= CR4_PAE;
	vcpu_fixture_load(&fixture, DATA, pointers, sizeof(pointers));
	cpu->cr3 = DATA;
	/* A page directory that maps the first 8 MiB, in 2 MiB pages. */
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t entry = i << 21 | PTE_P | PTE_W | PTE_PS;

		vcpu_fixture_load(&fixture, DATA + 0x1000 + 8 * i, &entry, 8);
	}
	cpu->gpr[X86_RAX] = CR0_PE | CR0_ET | CR0_PG;
	assert_int_equal(RUN(MOV_CR0_RAX), NONE);
	assert_memory_equal(cpu->pdpte, pointers, sizeof(pointers));
	/* They are registers: a change in memory waits for the next load. */
	pointers[3] = PTE_P | PTE_W; /* reserved in this format */
	vcpu_fixture_load(&fixture, DATA, pointers, sizeof(pointers));
	assert_int_equal(cpu->pdpte[3], 0);
	cpu->gpr[X86_RAX] = DATA;
	assert_int_equal(RUN(MOV_CR3_RAX), X86_GP);
}

static void test_undefined_control_registers(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	assert_int_equal(RUN(0x0f, 0x20, 0xc8), X86_UD); /* mov rax, cr1 */
	enter(FIXTURE_LONG);
	assert_int_equal(RUN(0x0f, 0x22, 0xe8), X86_UD); /* mov cr5, rax */
}

static void test_cr8(void **context)
{
	(void)context;
	assert_int_equal(WRITE(FIXTURE_LONG, 9, 0x44, 0x0f, 0x22, 0xc0), NONE);
	assert_int_equal(RUN(0x44, 0x0f, 0x20, 0xc1), NONE); /* mov rcx, cr8 */
	assert_int_equal(cpu->gpr[X86_RCX], 9);
	assert_int_equal(WRITE(FIXTURE_LONG, 16, 0x44, 0x0f, 0x22, 0xc0), X86_GP);
}

static void test_lmsw_and_smsw(void **context)
{
	uint64_t before;

	(void)context;
	enter(FIXTURE_LONG);
	before = cpu->cr0;
	cpu->gpr[X86_RAX] = CR0_TS; /* PE stays */
	assert_int_equal(RUN(0x0f, 0x01, 0xf0), NONE);
	assert_int_equal(cpu->cr0, (before & ~(CR0_MP | CR0_EM)) | CR0_TS);
	assert_int_equal(RUN(0x48, 0x0f, 0x01, 0xe1), NONE); /* smsw rcx */
	assert_int_equal(cpu->gpr[X86_RCX], cpu->cr0);
	assert_int_equal(RUN(0x0f, 0x06), NONE); /* clts */
	assert_int_equal(cpu->cr0 & CR0_TS, 0);
	enter(FIXTURE_LONG_USER);
	assert_int_equal(RUN(0x48, 0x0f, 0x01, 0xe1), NONE);
	assert_int_equal(RUN(0x0f, 0x01, 0xf0), X86_GP);
}

static void test_msr_instructions(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RCX] = UINT64_C(0xffffffff00000000) | MSR_STAR; /* the high half is ignored */
	cpu->gpr[X86_RAX] = UINT64_C(0x1111111155667788);
	cpu->gpr[X86_RDX] = UINT64_C(0x2222222211223344);
	assert_int_equal(RUN(0x0f, 0x30), NONE);
	assert_int_equal(cpu->star, UINT64_C(0x1122334455667788));
	assert_int_equal(RUN(0x0f, 0x32), NONE);
	assert_int_equal(cpu->gpr[X86_RAX], 0x55667788);
	assert_int_equal(cpu->gpr[X86_RDX], 0x11223344);
	cpu->gpr[X86_RCX] = 0x12345;
	assert_int_equal(RUN(0x0f, 0x32), X86_GP);
	enter(FIXTURE_LONG_USER);
	assert_int_equal(RUN(0x0f, 0x32), X86_GP);
}

static void test_time_stamp_counter(void **context)
{
	(void)context;
	enter(FIXTURE_LONG_USER);
	assert_int_equal(RUN(0x0f, 0x31), NONE);
	cpu->tsc_aux = 0x1234;
	if (cpu_model_has(&fixture.model, CPU_FEATURE_RDTSCP)) {
		assert_int_equal(RUN(0x0f, 0x01, 0xf9), NONE);
		assert_int_equal(cpu->gpr[X86_RCX], 0x1234);
	}
	cpu->cr4 |= CR4_TSD;
	assert_int_equal(RUN(0x0f, 0x31), X86_GP);
	enter(FIXTURE_LONG);
	cpu->cr4 |= CR4_TSD;
	assert_int_equal(RUN(0x0f, 0x31), NONE);
	assert_int_equal(RUN(0x0f, 0x33), X86_GP); /* rdpmc */
}

static void test_cpuid(void **context)
{
	(void)context;
	enter(FIXTURE_LONG_USER);
	cpu->gpr[X86_RAX] = 0x40000000;
	cpu->gpr[X86_RCX] = UINT64_MAX;
	assert_int_equal(RUN(0x0f, 0xa2), NONE);
	assert_int_equal(cpu->gpr[X86_RBX], 0x4b4d564b); /* "KVMK" */
	assert_int_equal(cpu->gpr[X86_RCX], 0x564b4d56);
	assert_int_equal(cpu->gpr[X86_RDX], 0x4d);
}

static void test_extended_control_register(void **context)
{
	const uint64_t all = fixture.model.xcr0_supported;

	(void)context;
	if (!all)
		skip();
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RCX] = cpu->gpr[X86_RDX] = 0;
	cpu->gpr[X86_RAX] = 3;
	assert_int_equal(RUN(0x0f, 0x01, 0xd1), NONE);
	assert_int_equal(cpu->xcr0, 3);
	cpu->gpr[X86_RAX] = 0xffff;
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), NONE);
	assert_int_equal(cpu->gpr[X86_RAX], 3);
	static const uint64_t bad[] = { 0, 2, 5, 0x80000007 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		enter(FIXTURE_LONG);
		cpu->gpr[X86_RCX] = cpu->gpr[X86_RDX] = 0;
		cpu->gpr[X86_RAX] = bad[i];
		assert_int_equal(RUN(0x0f, 0x01, 0xd1), X86_GP);
		assert_int_equal(cpu->xcr0, all);
	}
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RCX] = 2;
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), X86_GP);
	enter(FIXTURE_LONG);
	cpu->cr4 &= ~CR4_OSXSAVE;
	cpu->gpr[X86_RCX] = 0;
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), X86_UD);
}

static void test_segment_bases(void **context)
{
	(void)context;
	if (!cpu_model_has(&fixture.model, CPU_FEATURE_FSGSBASE))
		skip();
	enter(FIXTURE_LONG_USER);
	assert_int_equal(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0), X86_UD); /* wrfsbase rax */
	enter(FIXTURE_LONG_USER);
	cpu->cr4 |= CR4_FSGSBASE;
	cpu->gpr[X86_RAX] = UINT64_C(0xffff800012345678);
	assert_int_equal(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0), NONE);
	assert_int_equal(cpu->segment[X86_FS].base, UINT64_C(0xffff800012345678));
	assert_int_equal(RUN(0xf3, 0x0f, 0xae, 0xd8), NONE); /* wrgsbase eax */
	assert_int_equal(cpu->segment[X86_GS].base, 0x12345678);
	assert_int_equal(RUN(0xf3, 0x48, 0x0f, 0xae, 0xc1), NONE); /* rdfsbase rcx */
	assert_int_equal(cpu->gpr[X86_RCX], UINT64_C(0xffff800012345678));
	cpu->gpr[X86_RAX] = BIT(50);
	assert_int_equal(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0), X86_GP);
}

/* A stale translation goes with INVLPG; the page tables are changed behind the processor's back. */
static void test_invlpg(void **context)
{
	const gva_t at = 0x40000000;
	uint64_t *entry;

	(void)context;
	enter(FIXTURE_LONG);
	vcpu_fixture_map(&fixture, at, DATA, PTE_P | PTE_W);
	vcpu_fixture_load(&fixture, DATA, &(uint8_t){ 1 }, 1);
	vcpu_fixture_load(&fixture, DATA + 0x1000, &(uint8_t){ 2 }, 1);
	cpu->gpr[X86_RBX] = at;
	assert_int_equal(RUN(0x8a, 0x0b), NONE); /* mov cl, [rbx] */
	assert_int_equal(cpu->gpr[X86_RCX] & 0xff, 1);
	entry = vcpu_fixture_entry(&fixture, at, 1);
	*entry = (DATA + 0x1000) | PTE_P | PTE_W | PTE_G;
	assert_int_equal(RUN(0x0f, 0x01, 0x3b), NONE); /* invlpg [rbx] */
	assert_int_equal(RUN(0x8a, 0x0b), NONE);
	assert_int_equal(cpu->gpr[X86_RCX] & 0xff, 2);
	/* Of a non-canonical address it does nothing. */
	cpu->gpr[X86_RBX] = BIT(63);
	assert_int_equal(RUN(0x0f, 0x01, 0x3b), NONE);
	enter(FIXTURE_LONG_USER);
	assert_int_equal(RUN(0x0f, 0x01, 0x3b), X86_GP);
}

static int invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
	uint64_t descriptor[2] = { pcid, address };

	enter(FIXTURE_LONG);
	vcpu_fixture_load(&fixture, DATA, descriptor, sizeof(descriptor));
	cpu->gpr[X86_RBX] = DATA;
	cpu->gpr[X86_RAX] = type;
	return RUN(0x66, 0x0f, 0x38, 0x82, 0x03);
}

static void test_invpcid(void **context)
{
	(void)context;
	if (!cpu_model_has(&fixture.model, CPU_FEATURE_INVPCID))
		skip();
	assert_int_equal(invpcid(0, 0, 0x1000), NONE);
	assert_int_equal(invpcid(1, 0, BIT(63)), NONE);
	assert_int_equal(invpcid(2, 0, 0), NONE);
	assert_int_equal(invpcid(3, 0, 0), NONE);
	assert_int_equal(invpcid(4, 0, 0), X86_GP);
	assert_int_equal(invpcid(0, 0, BIT(63)), X86_GP);
	assert_int_equal(invpcid(0, 1, 0x1000), X86_GP); /* PCIDE is clear */
	assert_int_equal(invpcid(1, BIT(12), 0), X86_GP);
}

static void test_ports(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RDX] = PORT;
	cpu->gpr[X86_RAX] = UINT64_MAX;
	assert_int_equal(RUN(0xec), NONE); /* in al, dx */
	assert_int_equal(cpu->gpr[X86_RAX], UINT64_C(0xffffffffffffff11));
	assert_int_equal(RUN(0x66, 0xed), NONE);
	assert_int_equal(cpu->gpr[X86_RAX], UINT64_C(0xffffffffffff2212));
	assert_int_equal(RUN(0x48, 0xed), NONE); /* REX.W changes nothing */
	assert_int_equal(cpu->gpr[X86_RAX], 0x44332213);
	assert_int_equal(RUN(0xef), NONE);
	assert_int_equal(port_value, 0x44332213);
	assert_int_equal(RUN(0xe4, 0x80), NONE); /* nobody there */
	assert_int_equal(cpu->gpr[X86_RAX], 0x443322ff);
}

static void test_port_permissions(void **context)
{
	uint16_t base = 0x68;
	uint8_t bitmap[PORT / 8 + 3];

	(void)context;
	memset(bitmap, 0xff, sizeof(bitmap));
	enter(FIXTURE_LONG_USER);
	cpu->gpr[X86_RDX] = PORT;
	assert_int_equal(RUN(0xec), X86_GP);
	enter(FIXTURE_LONG_USER);
	cpu->gpr[X86_RDX] = PORT;
	cpu->flags_system |= RFLAGS_IOPL;
	assert_int_equal(RUN(0xec), NONE);

	/* Two ports are allowed, so a byte or a word pass, a dword does not. */
	bitmap[PORT / 8] = 0xfc;
	enter(FIXTURE_LONG_USER);
	vcpu_fixture_load(&fixture, 0x400000 + 0x66, &base, 2);
	vcpu_fixture_load(&fixture, 0x400000 + 0x68, bitmap, sizeof(bitmap));
	cpu->segment[X86_TR].base = 0x400000;
	cpu->segment[X86_TR].limit = 0x68 + PORT / 8 + 1;
	cpu->gpr[X86_RDX] = PORT;
	vcpu_fixture_load(&fixture, 0x400004, &(uint64_t){ FIXTURE_STACK0 }, 8);
	assert_int_equal(RUN(0xec), NONE);
	assert_int_equal(RUN(0x66, 0xed), NONE);
	/* The byte after is read too: it must be within the limit. */
	cpu->segment[X86_TR].limit--;
	assert_int_equal(RUN(0xec), X86_GP);
	enter(FIXTURE_LONG_USER);
	cpu->segment[X86_TR].base = 0x400000;
	cpu->segment[X86_TR].limit = 0x68 + PORT / 8 + 1;
	cpu->gpr[X86_RDX] = PORT;
	assert_int_equal(RUN(0xed), X86_GP);
}

static void test_string_input(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RDX] = PORT;
	cpu->gpr[X86_RDI] = DATA;
	cpu->gpr[X86_RCX] = 200; /* several chunks */
	assert_int_equal(RUN(0xf3, 0x6c), NONE);
	assert_int_equal(cpu->gpr[X86_RCX], 0);
	assert_int_equal(cpu->gpr[X86_RDI], DATA + 200);
	assert_int_equal(port_reads, 200);
	assert_int_equal(fixture.ram[DATA], 0x11);
	assert_int_equal(fixture.ram[DATA + 199], (0x11 + 199) & 0xff);
	/* Count 0: nothing. */
	assert_int_equal(RUN(0xf3, 0x6c), NONE);
	assert_int_equal(port_reads, 200);
	/* Downwards, by words, not repeated. */
	cpu->flags_system |= RFLAGS_DF;
	assert_int_equal(RUN(0x66, 0x6d), NONE);
	assert_int_equal(cpu->gpr[X86_RDI], DATA + 198);
}

/* The port is not read for an element that has no place to go, and the rest can go on later. */
static void test_string_input_faults(void **context)
{
	const gva_t at = 0x40000000;

	(void)context;
	enter(FIXTURE_LONG);
	vcpu_fixture_map(&fixture, at, DATA, PTE_P | PTE_W);
	cpu->gpr[X86_RDX] = PORT;
	cpu->gpr[X86_RDI] = at + 0xffe;
	cpu->gpr[X86_RCX] = 4;
	assert_int_equal(RUN(0xf3, 0x6c), X86_PF);
	assert_int_equal(cpu->cr2, at + 0x1000);
	assert_int_equal(cpu->gpr[X86_RCX], 2);
	assert_int_equal(cpu->gpr[X86_RDI], at + 0x1000);
	assert_int_equal(port_reads, 2);
}

static void test_string_output(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	vcpu_fixture_load(&fixture, DATA, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	cpu->gpr[X86_RDX] = PORT;
	cpu->gpr[X86_RSI] = DATA;
	cpu->gpr[X86_RCX] = 2;
	assert_int_equal(RUN(0xf3, 0x6f), NONE);
	assert_int_equal(port_writes, 2);
	assert_int_equal(port_value, 0x08070605);
	assert_int_equal(cpu->gpr[X86_RSI], DATA + 8);
}

static void test_hypercall(void **context)
{
	(void)context;
	enter(FIXTURE_LONG);
	cpu->gpr[X86_RAX] = 1;
	assert_int_equal(RUN(0x0f, 0x01, 0xc1), NONE);
	assert_int_equal((int64_t)cpu->gpr[X86_RAX], -1000);
	assert_int_equal(RUN(0x0f, 0x01, 0xd9), NONE);
	enter(FIXTURE_LONG_USER);
	assert_int_equal(RUN(0x0f, 0x01, 0xc1), NONE);
	assert_int_equal((int64_t)cpu->gpr[X86_RAX], -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_cr0),
		TEST(test_long_mode_is_entered_and_left),
		TEST(test_long_mode_needs_pae),
		TEST(test_cr4),
		TEST(test_pcid),
		TEST(test_cr3_reserved_bits),
		TEST(test_pae_pointers),
		TEST(test_undefined_control_registers),
		TEST(test_cr8),
		TEST(test_lmsw_and_smsw),
		TEST(test_msr_instructions),
		TEST(test_time_stamp_counter),
		TEST(test_cpuid),
		TEST(test_extended_control_register),
		TEST(test_segment_bases),
		TEST(test_invlpg),
		TEST(test_invpcid),
		TEST(test_ports),
		TEST(test_port_permissions),
		TEST(test_string_input),
		TEST(test_string_input_faults),
		TEST(test_string_output),
		TEST(test_hypercall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
