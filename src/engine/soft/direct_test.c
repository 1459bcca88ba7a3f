/*
 * Direct execution: what a guest's kernel and its user code see of system calls, exceptions, page
 * tables and written code is what a processor would show them, and no request waits.
 *
 * User code stands at FIXTURE_CODE; each vector, and SYSCALL, has a handler of its own that stops
 * the vCPU, so that RIP tells which it was. Where the host allows no traced processes the tests are
 * skipped.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/direct.h"
#include "engine/soft/direct_scan.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vcpu_fixture.h"
#include "engine/soft/vector.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HANDLERS       0x180000u /* 32 bytes for each vector */
#define SYSCALL_VECTOR 256u
#define DATA           0x400000u /* of a large page that nothing else is in */

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	struct error err = { 0 };

	vcpu_fixture_create(&fixture, 16);
	fixture.engine.mode = SOFT_MODE_TRANSLATE;
	assert_int_equal(translate_create(&fixture.engine, 0, &err), 0);
	direct_create(&fixture.engine);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	direct_destroy(&fixture.engine);
	translate_destroy(&fixture.engine);
	vcpu_fixture_destroy(*state);
	return 0;
}

/* mov edi, FIXTURE_STOP; mov [rdi], al; jmp $ */
static const uint8_t handler[] = { 0xbf, 0, 0, 0, 0xd0, 0x88, 0x07, 0xeb, 0xfe };

/* In user mode, with a handler for everything. */
static void enter_user(struct vcpu_fixture *f)
{
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	for (unsigned n = 0; n <= SYSCALL_VECTOR; n++)
		vcpu_fixture_load(f, HANDLERS + n * 32, handler, sizeof(handler));
	for (unsigned n = 0; n < 256; n++)
		vcpu_fixture_gate(f, n, FIXTURE_CS64, HANDLERS + n * 32, SEG_TYPE_INT,
			n == X86_BP || n == 0x80 ? 3 : 0, 0);
	vcpu->segment[X86_FS].selector = vcpu->segment[X86_GS].selector = 0;
	vcpu->star = (uint64_t)FIXTURE_CS64 << 32;
	vcpu->lstar = HANDLERS + SYSCALL_VECTOR * 32;
	vcpu->sfmask = RFLAGS_IF;
	vcpu_set_rflags(vcpu, RFLAGS_ONE | RFLAGS_IF);
	memset(&vcpu->direct_counters, 0, sizeof(vcpu->direct_counters));
}

/* Ready for user code to be loaded, all of which runs natively. */
static void enter(struct vcpu_fixture *f)
{
	enter_user(f);
	if (!direct_force(f->vcpu))
		skip();
}

/* Runs until a handler stops the vCPU; returns its vector. */
static unsigned run(struct vcpu_fixture *f)
{
	assert_int_equal(translate_executor.execute(f->vcpu), VCPU_EXIT_KICKED);
	assert_int_equal(f->vcpu->mode.cpl, 0);
	return (unsigned)((f->vcpu->rip - HANDLERS) / 32);
}

/* From the handler back to user code at `rip`, as IRETQ. */
static void back_to_user(struct vcpu_fixture *f, gva_t rip)
{
	struct vcpu *vcpu = f->vcpu;
	uint32_t common = SEG_P | SEG_S | SEG_TYPE_ACCESSED | SEG_G | SEG_DPL;

	vcpu->segment[X86_CS] = (struct cpu_segment){ .selector = FIXTURE_CS64_3,
		.limit = UINT32_MAX,
		.attributes = common | SEG_TYPE_CODE | SEG_TYPE_READABLE | SEG_L };
	vcpu->segment[X86_SS] = (struct cpu_segment){ .selector = FIXTURE_DS_3,
		.limit = UINT32_MAX,
		.attributes = common | SEG_TYPE_WRITABLE | SEG_DB };
	vcpu_set_rflags(vcpu, RFLAGS_ONE | RFLAGS_IF);
	vcpu_update_mode(vcpu);
	vcpu->gpr[X86_RSP] = FIXTURE_STACK3;
	vcpu->rip = rip;
}

/* What a fault pushed: `word` 0 is the error code, or RIP of exceptions that have none. */
static uint64_t frame(struct vcpu_fixture *f, unsigned word)
{
	uint64_t value;

	memcpy(&value, f->ram + f->vcpu->gpr[X86_RSP] + 8 * word, 8);
	return value;
}

#define SYSCALL 0x0f, 0x05

static void system_calls_arrive(void **state)
{
	struct vcpu_fixture *f = *state;

	enter(f);
	/* mov ecx, 1000000; xor eax, eax; 1: add rax, rcx; dec ecx; jnz 1b; mov r8, fs:[8];
	 * std; stc; syscall */
	FIXTURE_LOAD_CODE(f, 0xb9, 0x40, 0x42, 0x0f, 0x00, 0x31, 0xc0, 0x48, 0x01, 0xc8, 0xff, 0xc9,
		0x75, 0xf9, 0x64, 0x4c, 0x8b, 0x04, 0x25, 8, 0, 0, 0, 0xfd, 0xf9, SYSCALL);
	f->vcpu->segment[X86_FS].base = DATA;
	memcpy(f->ram + DATA + 8, "eightbyt", 8);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX], UINT64_C(500000500000));
	assert_int_equal(f->vcpu->gpr[X86_RCX], FIXTURE_CODE + 27);
	assert_int_equal(f->vcpu->gpr[X86_R11] & (RFLAGS_CF | RFLAGS_DF | RFLAGS_IF | RFLAGS_RF),
		RFLAGS_CF | RFLAGS_DF | RFLAGS_IF);
	assert_memory_equal(&f->vcpu->gpr[X86_R8], "eightbyt", 8);
	assert_int_equal(f->vcpu->direct_counters.system_calls, 1);
}

/* Whatever number and entry: mmap, rt_sigreturn, an x32 number; INT 80h. */
static void no_system_call_reaches_the_host(void **state)
{
	static const uint32_t numbers[] = { 9, 15, 60, 0x40000009, UINT32_MAX };
	struct vcpu_fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		enter(f);
		/* mov eax, imm32; syscall */
		FIXTURE_LOAD_CODE(f, 0xb8, (uint8_t)numbers[i], (uint8_t)(numbers[i] >> 8),
			(uint8_t)(numbers[i] >> 16), (uint8_t)(numbers[i] >> 24), SYSCALL);
		assert_int_equal(run(f), SYSCALL_VECTOR);
		assert_int_equal(f->vcpu->gpr[X86_RAX], numbers[i]);
		assert_int_equal(f->vcpu->direct_counters.system_calls, 1);
	}
	enter(f);
	/* mov eax, 1; mov ecx, 7; int 0x80 */
	FIXTURE_LOAD_CODE(f, 0xb8, 1, 0, 0, 0, 0xb9, 7, 0, 0, 0, 0xcd, 0x80);
	assert_int_equal(run(f), 0x80);
	assert_int_equal(frame(f, 0), FIXTURE_CODE + 12);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 7);
	/* A host without 32-bit system calls raises #GP, which the interpreter looks into. */
	assert_in_range(f->vcpu->direct_counters.system_calls, 0, 1);
}

static void exceptions_are_the_guests(void **state)
{
	static const struct {
		unsigned vector, word;
		uint8_t code[8];
		uint64_t rip; /* from FIXTURE_CODE; in `word` of the frame */
	} rows[] = {
		{ X86_DE, 0, { 0x31, 0xc9, 0xf7, 0xf1 }, 2 }, /* xor ecx, ecx; div ecx */
		{ X86_UD, 0, { 0x90, 0x0f, 0x0b }, 1 },       /* nop; ud2 */
		{ X86_GP, 1, { 0x90, 0xf4 }, 1 },             /* nop; hlt */
		{ X86_BP, 0, { 0x90, 0xcc }, 2 },             /* nop; int3 */
		{ X86_BP, 0, { 0x90, 0xcd, 0x03 }, 3 },       /* nop; int 3 */
		{ X86_DB, 0, { 0x90, 0xf1 }, 2 },             /* nop; int1 */
		{ X86_GP, 1, { 0x90, 0xcd, 0x21 }, 1 },       /* nop; int 0x21 */
		{ X86_GP, 1, { 0x90, 0x90, 0xe6, 0x80 }, 2 }, /* out 0x80, al */
	};
	struct vcpu_fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		enter(f);
		f->vcpu->gpr[X86_RAX] = DATA;
		vcpu_fixture_load(f, FIXTURE_CODE, rows[i].code, sizeof(rows[i].code));
		assert_int_equal(run(f), rows[i].vector);
		assert_int_equal(frame(f, rows[i].word), FIXTURE_CODE + rows[i].rip);
		assert_int_equal(f->vcpu->direct_counters.exceptions, 1);
	}
}

/* PUSHF; set TF; POPF; two NOPs: #DB behind the first. */
static void single_steps(void **state)
{
	struct vcpu_fixture *f = *state;

	enter(f);
	FIXTURE_LOAD_CODE(f, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x01, 0x00, 0x00, 0x9d, 0x90, 0x90);
	assert_int_equal(run(f), X86_DB);
	assert_int_equal(frame(f, 0), FIXTURE_CODE + 10);
	assert_true(frame(f, 2) & RFLAGS_TF);
	assert_true(f->vcpu->direct_counters.entries > 0);
}

static void faults_tell_the_guest(void **state)
{
	struct vcpu_fixture *f = *state;
	const gva_t absent = UINT64_C(0x7f0012345000);

	enter(f);
	/* mov [rax + 5], cl */
	FIXTURE_LOAD_CODE(f, 0x90, 0x88, 0x48, 0x05);
	f->vcpu->gpr[X86_RAX] = absent;
	assert_int_equal(run(f), X86_PF);
	assert_int_equal(f->vcpu->cr2, absent + 5);
	assert_int_equal(frame(f, 0), PF_USER | PF_WRITE);
	assert_int_equal(frame(f, 1), FIXTURE_CODE + 1);

	/* The vsyscall page, which the host's Linux serves for its own programs. */
	enter(f);
	/* jmp rax */
	FIXTURE_LOAD_CODE(f, 0xff, 0xe0);
	f->vcpu->gpr[X86_RAX] = UINT64_C(0xffffffffff600000);
	assert_int_equal(run(f), X86_PF);
	assert_int_equal(f->vcpu->cr2, UINT64_C(0xffffffffff600000));
}

/* mov rax, [DATA]; inc qword [DATA + 0x1000]; syscall */
#define READ_DATA                                                                                  \
	0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x40, 0x00, 0x48, 0xff, 0x04, 0x25, 0x00, 0x10, 0x40,  \
		0x00, SYSCALL

static void follows_page_tables(void **state)
{
	struct vcpu_fixture *f = *state;
	const uint64_t user = PTE_P | PTE_W | PTE_U;

	enter(f);
	FIXTURE_LOAD_CODE(f, READ_DATA);
	vcpu_fixture_map(f, DATA, 0x600000, user);
	vcpu_fixture_map(f, DATA + 0x1000, 0x601000, user);
	memset(f->ram + 0x600000, 0x11, 8);
	memset(f->ram + 0x700000, 0x22, 8);
	memset(f->ram + 0x601000, 0, 8);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX], UINT64_C(0x1111111111111111));
	assert_true(*vcpu_fixture_entry(f, DATA, 1) & PTE_A);
	assert_false(*vcpu_fixture_entry(f, DATA, 1) & PTE_D);
	assert_true(*vcpu_fixture_entry(f, DATA + 0x1000, 1) & PTE_D);

	/* Another page, as INVLPG would make it known; and D is set anew. */
	*vcpu_fixture_entry(f, DATA, 1) = 0x700000 | user;
	*vcpu_fixture_entry(f, DATA + 0x1000, 1) &= ~PTE_D;
	mmu_flush_page(f->vcpu, DATA);
	mmu_flush_page(f->vcpu, DATA + 0x1000);
	back_to_user(f, FIXTURE_CODE);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX], UINT64_C(0x2222222222222222));
	assert_true(*vcpu_fixture_entry(f, DATA + 0x1000, 1) & PTE_D);
	assert_int_equal(f->ram[0x601000], 2);
	assert_int_equal(f->vcpu->direct_counters.system_calls, 2);
}

static void writes_its_own_code(void **state)
{
	struct vcpu_fixture *f = *state;

	enter(f);
	/* mov byte [rip + 1], 7; mov al, 1; syscall */
	FIXTURE_LOAD_CODE(f, 0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x07, 0xb0, 0x01, SYSCALL);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX] & 0xff, 7);
	assert_true(f->vcpu->direct_counters.faults_interpreted > 0);
}

/* The kernel, or a device, changes code that has run natively. */
static void sees_changed_code(void **state)
{
	struct vcpu_fixture *f = *state;

	enter(f);
	for (uint8_t n = 1; n < 5; n++) {
		back_to_user(f, FIXTURE_CODE);
		/* mov eax, n; syscall */
		FIXTURE_LOAD_CODE(f, 0xb8, n, 0, 0, 0, SYSCALL);
		assert_int_equal(run(f), SYSCALL_VECTOR);
		assert_int_equal(f->vcpu->gpr[X86_RAX], n);
	}
	/* CPUID appears where the page was fit: leaf 0's EBX, EDX, ECX are the model's. */
	back_to_user(f, FIXTURE_CODE);
	FIXTURE_LOAD_CODE(f, 0x31, 0xc0, 0x31, 0xc9, 0x0f, 0xa2, SYSCALL);
	f->vcpu->direct_counters.unfit = 0;
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_true(f->vcpu->direct_counters.unfit > 0);
}

/* MOV EAX, imm32 with its last byte in the next page; and a load that crosses into a device. */
static void crosses_pages(void **state)
{
	struct vcpu_fixture *f = *state;

	enter(f);
	f->vcpu->rip = FIXTURE_CODE + 0xffc;
	FIXTURE_LOAD_CODE(f, 0xb8, 1, 2, 3, 4, SYSCALL);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 0x04030201);
}

static void reaches_devices(void **state)
{
	struct vcpu_fixture *f = *state;

	enter(f);
	/* mov rax, [rbx]; syscall */
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x03, SYSCALL);
	f->vcpu->gpr[X86_RBX] = FIXTURE_STOP + 8;
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX], UINT64_C(0x1122334455667788));
	assert_true(f->vcpu->direct_counters.faults_interpreted > 0);
}

static void carries_vector_registers(void **state)
{
	struct vcpu_fixture *f = *state;
	struct cpu_xsave image;

	enter(f);
	vector_get(f->vcpu, &image);
	memset(image.xmm[3], 0x33, 16);
	memset(image.ymm_high[3], 0x44, 16);
	image.mxcsr = 0x1fa0;
	image.xstate_bv |= XCR0_SSE | XCR0_AVX;
	vector_set(f->vcpu, &image);
	/* vmovdqa ymm5, ymm3; fldpi; syscall */
	FIXTURE_LOAD_CODE(f, 0xc5, 0xfd, 0x6f, 0xeb, 0xd9, 0xeb, SYSCALL);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	vector_get(f->vcpu, &image);
	assert_memory_equal(image.xmm[5], image.xmm[3], 16);
	assert_memory_equal(image.ymm_high[5], image.ymm_high[3], 16);
	assert_int_equal(image.ymm_high[5][0], 0x44);
	assert_int_equal(image.mxcsr, 0x1fa0);
	/* Pi in the format of SDM 1 4.2.2. */
	assert_memory_equal(image.st[0], "\x35\xc2\x68\x21\xa2\xda\x0f\xc9\x00\x40", 10);
	assert_true(f->vcpu->direct_counters.entries > 0);
}

/* What the kernel does not touch stays in the runner, and what it touches is the user code's. */
static void kernels_find_vector_registers(void **state)
{
	static const struct {
		uint8_t size, code[8], away, xmm1, xmm2;
	} rows[] = {
		{ 1, { 0x90 }, true, 0xff, 0 },
		/* movdqa xmm2, xmm1 */
		{ 4, { 0x66, 0x0f, 0x6f, 0xd1 }, false, 0xff, 0xff },
		/* maskmovdqu xmm1, xmm2: to RDI, which is 0 */
		{ 4, { 0x66, 0x0f, 0xf7, 0xca }, false, 0xff, 0 },
		/* fxrstor [DATA]; fxsave [DATA] */
		{ 8, { 0x0f, 0xae, 0x0c, 0x25, 0, 0, 0x40, 0 }, false, 0, 0 },
		{ 8, { 0x0f, 0xae, 0x04, 0x25, 0, 0, 0x40, 0 }, false, 0xff, 0 },
	};
	const struct cpu_xsave none = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	struct vcpu_fixture *f = *state;
	struct cpu_xsave image;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		gva_t at = HANDLERS + SYSCALL_VECTOR * 32;

		enter(f);
		vector_set(f->vcpu, &none);
		memcpy(f->ram + DATA, &none, sizeof(none));
		/* vpcmpeqd ymm1, ymm1, ymm1; xor edi, edi; syscall */
		FIXTURE_LOAD_CODE(f, 0xc5, 0xf5, 0x76, 0xc9, 0x31, 0xff, SYSCALL);
		vcpu_fixture_load(f, at, rows[i].code, rows[i].size);
		vcpu_fixture_load(f, at + rows[i].size, handler, sizeof(handler));
		assert_int_equal(run(f), SYSCALL_VECTOR);
		assert_int_equal(f->vcpu->vector_away, rows[i].away);
		vector_get(f->vcpu, &image);
		assert_int_equal(image.xmm[1][15], rows[i].xmm1);
		assert_int_equal(image.ymm_high[1][15], 0xff);
		assert_int_equal(image.xmm[2][15], rows[i].xmm2);
		back_to_user(f, FIXTURE_CODE);
		/* movdqa xmm3, xmm1; syscall */
		FIXTURE_LOAD_CODE(f, 0x66, 0x0f, 0x6f, 0xd9, SYSCALL);
		assert_int_equal(run(f), SYSCALL_VECTOR);
		vector_get(f->vcpu, &image);
		assert_int_equal(image.xmm[3][15], rows[i].xmm1);
	}
}

static void *kick_when_running(void *context)
{
	struct vcpu *vcpu = context;

	while (atomic_load(&vcpu->direct_running) == 0)
		sched_yield();
	vcpu_request(vcpu, REQUEST_KICK);
	return NULL;
}

static void requests_end_it(void **state)
{
	struct vcpu_fixture *f = *state;
	pthread_t thread;

	for (unsigned i = 0; i < 20; i++) {
		enter(f);
		/* 1: inc rax; jmp 1b */
		FIXTURE_LOAD_CODE(f, 0x48, 0xff, 0xc0, 0xeb, 0xfb);
		assert_int_equal(pthread_create(&thread, NULL, kick_when_running, f->vcpu), 0);
		assert_int_equal(translate_executor.execute(f->vcpu), VCPU_EXIT_KICKED);
		pthread_join(thread, NULL);
		assert_int_equal(f->vcpu->mode.cpl, 3);
	}
}

static void *note_runner(void *context)
{
	struct vcpu *vcpu = context;
	int pid;

	while ((pid = atomic_load(&vcpu->direct_running)) == 0)
		sched_yield();
	vcpu_request(vcpu, REQUEST_KICK);
	return (void *)(intptr_t)pid;
}

/* Somebody kills the process while it stands still. */
static void survives_its_runner(void **state)
{
	struct vcpu_fixture *f = *state;
	pthread_t thread;
	void *pid;

	enter(f);
	/* 1: test ebx, ebx; jnz 1b; syscall */
	FIXTURE_LOAD_CODE(f, 0x85, 0xdb, 0x75, 0xfc, SYSCALL);
	f->vcpu->gpr[X86_RBX] = 1;
	assert_int_equal(pthread_create(&thread, NULL, note_runner, f->vcpu), 0);
	assert_int_equal(translate_executor.execute(f->vcpu), VCPU_EXIT_KICKED);
	pthread_join(thread, &pid);
	direct_rest(f->vcpu);
	assert_int_equal(kill((pid_t)(intptr_t)pid, SIGKILL), 0);
	f->vcpu->gpr[X86_RBX] = 0;
	f->vcpu->rip = FIXTURE_CODE;
	assert_int_equal(run(f), SYSCALL_VECTOR);
}

struct decoder {
	struct vcpu_fixture *fixture;
	struct vcpu *other; /* only its engine is looked at */
	volatile uint8_t *page;
	bool changes_seen;
};

/* As another vCPU that begins to execute the page the native loop writes. */
static void *decode_when_running(void *context)
{
	struct decoder *decoder = context;
	struct vcpu *vcpu = decoder->fixture->vcpu;
	uint64_t before;

	while (*(volatile uint64_t *)decoder->page == 0)
		sched_yield();
	code_pages_add(decoder->other, DATA, 64);
	/* From here on every write goes through the interpreter, which tells. */
	before = code_pages_log_end(&decoder->fixture->engine);
	while (code_pages_log_end(&decoder->fixture->engine) == before)
		sched_yield();
	decoder->changes_seen = true;
	vcpu_request(vcpu, REQUEST_KICK);
	return NULL;
}

static void writes_to_new_code_are_seen(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *other = calloc(1, sizeof(*other));
	struct decoder decoder = { .fixture = f, .other = other, .page = f->ram + DATA };
	pthread_t thread;

	enter(f);
	assert_non_null(other);
	other->engine = &f->engine;
	/* 1: inc qword [DATA]; jmp 1b */
	FIXTURE_LOAD_CODE(f, 0x48, 0xff, 0x04, 0x25, 0x00, 0x00, 0x40, 0x00, 0xeb, 0xf6);
	memset(f->ram + DATA, 0, 8);
	assert_int_equal(pthread_create(&thread, NULL, decode_when_running, &decoder), 0);
	assert_int_equal(translate_executor.execute(f->vcpu), VCPU_EXIT_KICKED);
	pthread_join(thread, NULL);
	assert_true(decoder.changes_seen);
	free(other);
}

/* RDTSC runs natively where the host's counter is the guest's, and is exact where it is not. */
static void reads_the_counter(void **state)
{
	struct vcpu_fixture *f = *state;

	for (unsigned i = 0; i < 4; i++) {
		uint64_t offset = i & 1 ? UINT64_C(1) << 60 : 0, before, read;

		enter(f);
		/* rdtsc; syscall */
		FIXTURE_LOAD_CODE(f, 0x0f, 0x31, SYSCALL);
		f->vcpu->tsc_offset = offset;
		before = host_tsc();
		assert_int_equal(run(f), SYSCALL_VECTOR);
		read = f->vcpu->gpr[X86_RDX] << 32 | f->vcpu->gpr[X86_RAX];
		assert_in_range(read, before + offset, host_tsc() + offset);
		assert_int_equal(f->vcpu->direct_counters.unfit > 0, i & 1);
	}
	enter(f);
	FIXTURE_LOAD_CODE(f, 0x90, 0x0f, 0x31, SYSCALL);
	f->vcpu->tsc_offset = 0;
	f->vcpu->cr4 |= CR4_TSD;
	assert_int_equal(run(f), X86_GP);
	assert_int_equal(frame(f, 1), FIXTURE_CODE + 1);
	f->vcpu->cr4 &= ~CR4_TSD;
}

#define VDSO_CODE 0x600u

/* The first page of a vDSO with `code` at VDSO_CODE. */
static void make_vdso(uint8_t page[4096], const uint8_t *code, unsigned size)
{
	memset(page, 0x90, 4096);
	memcpy(page, "\177ELF\2\1\1", 8);
	memcpy(page + 0x300, "linux-vdso.so.1", 16);
	memcpy(page + VDSO_CODE, code, size);
}

/* Has the loaded code, a SYSCALL, run natively? */
static bool calls_natively(struct vcpu_fixture *f)
{
	uint64_t entries = f->vcpu->direct_counters.entries;

	back_to_user(f, FIXTURE_CODE);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	return f->vcpu->direct_counters.entries != entries;
}

/* Each may take longer than it is held back for on a busy host: but not all of so many. */
#define TRIES 1000

static void waits_while_held_back(void **state)
{
	struct vcpu_fixture *f = *state;
	bool native = true;

	enter(f);
	FIXTURE_LOAD_CODE(f, SYSCALL);
	for (unsigned tries = 0; native && tries < TRIES; tries++) {
		f->vcpu->direct_again_tsc = vcpu_tsc(f->vcpu) + tsc_of_ns(f->vcpu, 99 * NS_PER_US);
		native = calls_natively(f);
	}
	assert_false(native);
	/* The guest has moved its TSC. */
	f->vcpu->direct_again_tsc = vcpu_tsc(f->vcpu) + tsc_of_ns(f->vcpu, NS_PER_S);
	assert_true(calls_natively(f));
	assert_int_equal(f->vcpu->direct_again_tsc, 0);
	/* After sleep, unless all is to run natively. */
	direct_woke(f->vcpu);
	assert_int_equal(f->vcpu->direct_again_tsc, 0);
	assert_true(direct_make_hot(f->vcpu));
	direct_woke(f->vcpu);
	assert_int_not_equal(f->vcpu->direct_again_tsc, 0);
	f->vcpu->direct_again_tsc = 0;
}

/* As many as there are before all of it is left to the translator. */
static void early_calls_hold_it_back(void **state)
{
	struct vcpu_fixture *f = *state;
	bool held = false;

	enter_user(f);
	if (!direct_make_hot(f->vcpu))
		skip();
	FIXTURE_LOAD_CODE(f, SYSCALL);
	for (unsigned tries = 0; tries < 3 && !held; tries++) {
		calls_natively(f);
		held = f->vcpu->direct_again_tsc != 0;
	}
	f->vcpu->direct_again_tsc = 0;
	/* The host took the CPU away each time. */
	if (!held)
		skip();
}

static void traps_in_a_vdso(void **state)
{
	/* mov eax, FIXTURE_DS_3; lsl ebx, eax; mov r8, [rip - 7: the LSL]; syscall */
	static const uint8_t code[] = { 0xb8, FIXTURE_DS_3, 0, 0, 0, 0x0f, 0x03, 0xd8, 0x4c, 0x8b,
		0x05, 0x00, 0x00, 0x00, 0x00, SYSCALL };
	struct vcpu_fixture *f = *state;

	enter(f);
	make_vdso(f->ram + DATA, code, sizeof(code));
	vcpu_fixture_map(f, DATA, DATA, PTE_P | PTE_U);
	f->vcpu->rip = DATA + VDSO_CODE;
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RBX], UINT32_MAX);
	assert_int_equal(f->vcpu->direct_counters.unfit, 0);
	assert_int_equal(f->vcpu->direct_counters.exceptions, 1);
	assert_int_equal(f->vcpu->direct_counters.system_calls, 1);
	assert_int_equal(f->ram[DATA + VDSO_CODE + 5], 0x0f);

	/* The kernel patches it: the copy goes. mov eax, 7 */
	f->ram[DATA + VDSO_CODE + 1] = 7;
	code_pages_written(&f->engine, DATA + VDSO_CODE + 1, 1);
	back_to_user(f, DATA + VDSO_CODE);
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 7);
}

static enum direct_scan scan(const uint8_t *bytes, unsigned size, unsigned at)
{
	struct direct_traps traps;
	uint8_t page[4096];

	memset(page, 0x90, sizeof(page));
	memcpy(page + at, bytes, size);
	return direct_scan(page, NULL, true, &traps);
}

static bool is_clean(const uint8_t *bytes, unsigned size, unsigned at)
{
	return scan(bytes, size, at) == DIRECT_SCAN_CLEAN;
}

#define CLEAN(at, ...)                                                                             \
	is_clean((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), at)

static void finds_what_must_not_run(void **state)
{
	(void)state;
	assert_true(CLEAN(0, 0x90));
	for (unsigned at = 0; at < 200; at++) {
		assert_false(CLEAN(at, 0x0f, 0xa2));                         /* cpuid */
		assert_false(CLEAN(at, 0x0f, 0x03, 0xc0));                   /* lsl eax, eax */
		assert_false(CLEAN(at, 0x0f, 0x01, 0xf9));                   /* rdtscp */
		assert_false(CLEAN(at, 0xf3, 0x48, 0x0f, 0xc7, 0xf8));       /* rdpid rax */
		assert_false(CLEAN(at, 0x48, 0x0f, 0xc7, 0x64, 0x24, 0x40)); /* xsavec64 */
	}
	assert_false(CLEAN(4094, 0x0f, 0xa2));
	assert_false(CLEAN(4095, 0x0f)); /* may go on in the next page */
	assert_true(CLEAN(4095, 0x90));
	assert_true(CLEAN(300, 0x0f, 0xae, 0xe8));       /* lfence is xrstor's with a register */
	assert_true(CLEAN(300, 0x0f, 0xae, 0xf0));       /* mfence */
	assert_true(CLEAN(300, 0x48, 0x0f, 0xc7, 0x0f)); /* cmpxchg16b [rdi] */
	/* cmp al, 15; add eax, eax: no LSL, whatever 0F 03 says */
	assert_true(CLEAN(300, 0x3c, 0x0f, 0x03, 0xc0));
	assert_true(CLEAN(300, 0x0f, 0xae, 0xe8, 0x0f, 0x31)); /* lfence; rdtsc */
}

/* What the page behind begins with decides, as it is now. */
static void finds_what_goes_on_in_the_next_page(void **state)
{
	static const uint8_t jcc[] = { 0x84, 0x00 }, cpuid[] = { 0xa2, 0x90 };
	struct vcpu_fixture *f = *state;
	struct direct_traps traps;
	uint8_t page[4096];

	memset(page, 0x90, sizeof(page));
	assert_false(direct_scan_needs_next(page));
	page[4095] = 0x0f;
	assert_true(direct_scan_needs_next(page));
	assert_int_equal(direct_scan(page, NULL, true, &traps), DIRECT_SCAN_UNFIT);
	assert_int_equal(direct_scan(page, jcc, true, &traps), DIRECT_SCAN_CLEAN);
	assert_int_equal(direct_scan(page, cpuid, true, &traps), DIRECT_SCAN_UNFIT);

	enter(f);
	vcpu_fixture_map(f, DATA, 0x600000, PTE_P | PTE_U | PTE_A);
	vcpu_fixture_map(f, DATA + 0x1000, 0x601000, PTE_P | PTE_U | PTE_A);
	/* jz +0 across the pages; syscall */
	memcpy(f->ram + 0x600000, page, sizeof(page));
	memcpy(f->ram + 0x601000, "\x84\0\0\0\0\x0f\x05", 7);
	code_pages_written(&f->engine, 0x600000, 0x2000);
	f->vcpu->rip = DATA + 0xff0;
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_int_equal(f->vcpu->direct_counters.unfit, 0);
	/* Now it is CPUID. */
	memcpy(f->ram + 0x601000, "\xa2\x0f\x05", 3);
	code_pages_written(&f->engine, 0x601000, 3);
	back_to_user(f, DATA + 0xff0);
	f->vcpu->gpr[X86_RAX] = 0;
	assert_int_equal(run(f), SYSCALL_VECTOR);
	assert_true(f->vcpu->direct_counters.unfit > 0);
}

static void finds_what_may_be_trapped(void **state)
{
	/* lsl eax, eax; rdpid rax; rdtscp; cmp al, 15; add eax, eax */
	static const uint8_t code[] = { 0x0f, 0x03, 0xc0, 0xf3, 0x0f, 0xc7, 0xf8, 0x0f, 0x01, 0xf9,
		0x3c, 0x0f, 0x03, 0xc0 };
	static const uint8_t cpuid[] = { 0x0f, 0xa2 }, rdtsc[] = { 0x0f, 0x31 };
	struct direct_traps traps;
	uint8_t page[4096];

	(void)state;
	make_vdso(page, code, sizeof(code));
	assert_int_equal(direct_scan(page, NULL, true, &traps), DIRECT_SCAN_TRAPPED);
	assert_int_equal(traps.count, 3);
	assert_int_equal(traps.at[0], VDSO_CODE);
	assert_int_equal(traps.at[1], VDSO_CODE + 3);
	assert_int_equal(traps.at[2], VDSO_CODE + 7);
	make_vdso(page, cpuid, sizeof(cpuid));
	assert_int_equal(direct_scan(page, NULL, true, &traps), DIRECT_SCAN_UNFIT);
	make_vdso(page, rdtsc, sizeof(rdtsc));
	assert_int_equal(direct_scan(page, NULL, true, &traps), DIRECT_SCAN_CLEAN);
	assert_int_equal(direct_scan(page, NULL, false, &traps), DIRECT_SCAN_TRAPPED);
	memset(page, 0, 4);
	assert_int_equal(direct_scan(page, NULL, false, &traps), DIRECT_SCAN_UNFIT);
	/* Only in a vDSO. */
	assert_int_equal(scan(code, sizeof(code), VDSO_CODE), DIRECT_SCAN_UNFIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(system_calls_arrive),
		cmocka_unit_test(no_system_call_reaches_the_host),
		cmocka_unit_test(exceptions_are_the_guests),
		cmocka_unit_test(single_steps),
		cmocka_unit_test(faults_tell_the_guest),
		cmocka_unit_test(follows_page_tables),
		cmocka_unit_test(writes_its_own_code),
		cmocka_unit_test(sees_changed_code),
		cmocka_unit_test(crosses_pages),
		cmocka_unit_test(reaches_devices),
		cmocka_unit_test(carries_vector_registers),
		cmocka_unit_test(kernels_find_vector_registers),
		cmocka_unit_test(requests_end_it),
		cmocka_unit_test(survives_its_runner),
		cmocka_unit_test(writes_to_new_code_are_seen),
		cmocka_unit_test(reads_the_counter),
		cmocka_unit_test(traps_in_a_vdso),
		cmocka_unit_test(finds_what_must_not_run),
		cmocka_unit_test(finds_what_goes_on_in_the_next_page),
		cmocka_unit_test(finds_what_may_be_trapped),
		cmocka_unit_test(waits_while_held_back),
		cmocka_unit_test(early_calls_hold_it_back),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
