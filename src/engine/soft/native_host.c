/*
 * Runs native comparison cases on the processor that the test runs on.
 *
 * A batch runs in a forked child. Registers are loaded from native_frame, the case's slot is jumped
 * to, and what follows the instruction there jumps back. Exceptions arrive as signals, which carry
 * vector, error code and CR2 (arch/x86/kernel/signal.c), on an alternate stack: RSP is a case's
 * operand like any other register.
 */
#include "engine/soft/native.h"

#include <asm/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* Selectors that Linux gives 64-bit and 32-bit user code and data. */
#define USER_CS_64 0x33
#define USER_CS_32 0x23
#define USER_DS    0x2b

#define RFLAGS_LOADED (RFLAGS_ONE | RFLAGS_IF)

struct native_frame {
	struct native_state in, out;
	uint64_t host_rsp;
	uint32_t target; /* a far pointer: the slot, */
	uint16_t selector;
	uint8_t vector;
	uint8_t fault;
	uint32_t error;
	uint64_t cr2;
};

/* The assembly below counts on these. */
_Static_assert(offsetof(struct native_state, gpr) == 832, "");
_Static_assert(offsetof(struct native_state, rflags) == 968, "");
_Static_assert(offsetof(struct native_frame, out) == 1024, "");
_Static_assert(offsetof(struct native_frame, host_rsp) == 2048, "");
_Static_assert(offsetof(struct native_frame, target) == 2056, "");
_Static_assert(offsetof(struct native_frame, vector) == 2062, "");

extern struct native_frame native_frame;
struct native_frame native_frame __attribute__((aligned(64), visibility("hidden")));

void native_enter(void);
void native_exit(void);
void native_resume(void);

#define GPRS(move)                                                                                 \
	move(rax, 0) move(rcx, 1) move(rdx, 2) move(rbx, 3) move(rsp, 4) move(rbp, 5) move(rsi, 6) \
		move(rdi, 7) move(r8, 8) move(r9, 9) move(r10, 10) move(r11, 11) move(r12, 12)     \
			move(r13, 13) move(r14, 14) move(r15, 15)
#define LOAD(name, n)  "mov native_frame + 832 + 8*" #n "(%rip), %" #name "\n"
#define STORE(name, n) "mov %" #name ", native_frame + 1024 + 832 + 8*" #n "(%rip)\n"

asm(".text\n"
    ".globl native_enter, native_exit, native_resume\n"
    ".hidden native_enter, native_exit, native_resume\n"
    "native_enter:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, native_frame + 2048(%rip)\n"
    "cmpb $0, native_frame + 2062(%rip)\n"
    "je 1f\n"
    "mov $7, %eax\n"
    "xor %edx, %edx\n"
    "xrstor64 native_frame(%rip)\n"
    "1: pushq native_frame + 968(%rip)\n"
    "popfq\n" GPRS(
	    LOAD) "ljmpl *native_frame + 2056(%rip)\n"
		  "native_exit:\n" GPRS(
			  STORE) "mov native_frame + 2048(%rip), %rsp\n"
				 "pushfq\n"
				 "popq native_frame + 1024 + 968(%rip)\n"
				 "native_resume:\n"
				 "pushq $0x202\n"
				 "popfq\n"
				 "cmpb $0, native_frame + 2062(%rip)\n"
				 "je 1f\n"
				 "mov $7, %eax\n"
				 "xor %edx, %edx\n"
				 "xsave64 native_frame + 1024(%rip)\n"
				 "fninit\n"
				 "pushq $0x1f80\n"
				 "ldmxcsr (%rsp)\n"
				 "pop %rax\n"
				 "vzeroupper\n"
				 "1: pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\n"
				 "ret\n");

#define LAST_PAGE (NATIVE_CODE + NATIVE_CODE_SIZE - 4096)

static const int gpr_of_context[X86_NR_GPRS] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP,
	REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
	REG_R15 };

static void on_fault(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct native_frame *frame = &native_frame;

	(void)number;
	(void)info;
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		frame->out.gpr[i] = (uint64_t)registers[gpr_of_context[i]];
	frame->out.rip = (uint64_t)registers[REG_RIP];
	frame->out.rflags = (uint64_t)registers[REG_EFL];
	frame->fault = (uint8_t)registers[REG_TRAPNO];
	frame->error = (uint32_t)registers[REG_ERR];
	frame->cr2 = (uint64_t)registers[REG_CR2];
	registers[REG_RIP] = (greg_t)(uintptr_t)native_resume;
	registers[REG_RSP] = (greg_t)frame->host_rsp;
	registers[REG_EFL] = RFLAGS_LOADED;
	registers[REG_CSGSFS] = (registers[REG_CSGSFS] & ~0xffffll) | USER_CS_64;
}

static void run_case(struct native_batch *batch, unsigned slot)
{
	const struct native_case *c = &batch->cases[slot];
	struct native_result *result = &batch->host[slot];
	struct native_frame *frame = &native_frame;

	native_live_store((uint8_t *)NATIVE_DATA, c->live);
	frame->in = c->state;
	frame->in.rflags |= RFLAGS_LOADED;
	frame->target = (uint32_t)native_slot(slot);
	frame->selector = batch->mode == INSN_MODE_64 ? USER_CS_64 : USER_CS_32;
	frame->vector = c->vector;
	frame->fault = NATIVE_NO_FAULT;
	frame->error = 0;
	frame->cr2 = 0;
	native_enter();
	result->state = frame->out;
	result->vector = frame->fault;
	result->error = frame->error;
	result->cr2 = frame->fault == X86_PF ? frame->cr2 : 0;
	if (frame->fault == NATIVE_NO_FAULT)
		result->state.rip = native_slot(slot) + c->length;
	native_live_load(result->live, (const uint8_t *)NATIVE_DATA);
}

/*
 * There are hypervisors without hardware virtualization that emulate the instruction that first
 * touches a page, and do it wrong (LZCNT as BSR, #UD for what they do not know). So all pages are
 * touched by instructions that do not matter: read, written, and executed at an UD2.
 */
static void touch_pages(void)
{
	struct native_frame *frame = &native_frame;
	volatile uint8_t *data = (volatile uint8_t *)NATIVE_DATA;

	(void)*(const volatile uint8_t *)NATIVE_READ_ONLY;
	for (unsigned i = 0; i < NATIVE_DATA_SIZE; i++)
		data[i] = 0;
	for (uint32_t page = NATIVE_CODE; page < LAST_PAGE; page += 4096) {
		(void)*(const volatile uint8_t *)(uintptr_t)page;
		frame->target = page + 4096 - 2;
		frame->selector = USER_CS_64;
		frame->vector = 0;
		native_enter();
	}
}

static void child(struct native_batch *batch)
{
	static uint8_t stack[65536];
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };

	if (sigaltstack(&alternate, NULL))
		_exit(2);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, NATIVE_GS_BASE))
		_exit(3);
	asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(USER_DS));
	touch_pages();
	alarm(120);
	for (unsigned i = 0; i < batch->nr_cases; i++)
		run_case(batch, i);
	memcpy(batch->host_data, (const void *)NATIVE_DATA, NATIVE_DATA_SIZE);
	_exit(0);
}

static void *map_at(uintptr_t address, size_t size)
{
	void *memory = mmap((void *)address, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (memory != (void *)address) {
		perror("native comparison: cannot map its address space");
		_exit(1);
	}
	return memory;
}

/*
 * Out of a 64-bit slot leads JMP [RIP + x], to the pointer in the code's last page; out of a 32-bit
 * slot JMP 33h:stub, to such a jump in that page.
 */
#define EXIT_POINTER LAST_PAGE
#define EXIT_STUB    (LAST_PAGE + 16)

static void put_jump_exit(uint8_t *at)
{
	int32_t displacement = (int32_t)(EXIT_POINTER - ((uintptr_t)at + 6));

	at[0] = 0xff;
	at[1] = 0x25;
	memcpy(at + 2, &displacement, 4);
}

static void put_far_jump_exit(uint8_t *at)
{
	uint32_t offset = EXIT_STUB;
	uint16_t selector = USER_CS_64;

	at[0] = 0xea;
	memcpy(at + 1, &offset, 4);
	memcpy(at + 5, &selector, 2);
}

void native_host_init(void)
{
	uint8_t *code = map_at(NATIVE_CODE, NATIVE_CODE_SIZE);
	uint8_t *page = map_at(NATIVE_READ_ONLY, 4096);
	void (*out)(void) = native_exit;

	map_at(NATIVE_DATA, NATIVE_DATA_SIZE);
	for (unsigned i = 0; i < 4096; i++)
		page[i] = (uint8_t)(i * 37 + (i >> 4));
	memcpy((void *)EXIT_POINTER, &out, sizeof(out));
	put_jump_exit((uint8_t *)EXIT_STUB);
	if (mprotect(page, 4096, PROT_READ) ||
		mprotect(code, NATIVE_CODE_SIZE, PROT_READ | PROT_EXEC)) {
		perror("native comparison: mprotect");
		_exit(1);
	}
}

const uint8_t *native_host_code(const struct native_batch *batch)
{
	uint8_t *code = (uint8_t *)NATIVE_CODE;

	if (mprotect(code, NATIVE_CODE_SIZE, PROT_READ | PROT_WRITE))
		_exit(1);
	for (unsigned i = 0; i < batch->nr_cases; i++) {
		const struct native_case *c = &batch->cases[i];
		uint8_t *slot = (uint8_t *)native_slot(i);

		for (unsigned offset = 0; offset < NATIVE_SLOT; offset += 2)
			memcpy(slot + offset, "\x0f\x0b", 2); /* UD2 */
		memcpy(slot, c->bytes, c->length);
		if (batch->mode == INSN_MODE_64)
			put_jump_exit(slot + c->length);
		else
			put_far_jump_exit(slot + c->length);
	}
	if (mprotect(code, NATIVE_CODE_SIZE, PROT_READ | PROT_EXEC))
		_exit(1);
	return code;
}

const uint8_t *native_host_read_only(void)
{
	return (const uint8_t *)NATIVE_READ_ONLY;
}

int native_host_start(struct native_batch *batch)
{
	int pid = fork();

	if (pid == 0)
		child(batch);
	return pid;
}
