/*
 * What the host cannot do that a processor can, so that tests do not ask for it. Linux may be the
 * guest of a hypervisor without hardware virtualization.
 */
#include "engine/soft/native.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

bool native_host_has_32_bit_code(void)
{
	uint32_t rights;
	bool visible;

	asm("lar %2, %0" : "=r"(rights), "=@ccz"(visible) : "r"(0x23));
	return visible;
}

static void go_on(int number)
{
	(void)number;
}

/* Not _exit, which does not return: AddressSanitizer allocates memory before such a call, and does
 * not know this stack. */
static void leave(int status)
{
	syscall(SYS_exit_group, status);
}

static void give_up(int number)
{
	(void)number;
	leave(1);
}

static void interrupt_with_any_stack(void)
{
	static uint8_t stack[65536];
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction trap = { .sa_handler = go_on, .sa_flags = SA_ONSTACK };
	struct sigaction fault = { .sa_handler = give_up, .sa_flags = SA_ONSTACK };

	sigaltstack(&alternate, NULL);
	sigaction(SIGTRAP, &trap, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	asm volatile("mov %%rsp, %%rbx\n\t"
		     "mov %0, %%rsp\n\t"
		     "int3\n\t"
		     "mov %%rbx, %%rsp"
		     :
		     : "r"(UINT64_C(0x0123456789abcdef))
		     : "rbx", "memory");
	leave(0);
}

bool native_host_returns_to_any_stack(void)
{
	static int answer = -1;
	int status = 0, pid;

	if (answer >= 0)
		return answer;
	pid = fork();
	if (pid == 0)
		interrupt_with_any_stack();
	answer = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
	return answer;
}

bool native_writes_stack_pointer(const struct insn *insn)
{
	/* Elsewhere it is more of the opcode, or a vector register. */
	uint8_t kind = insn_row(insn)->reg_kind;
	bool has_register = kind == ISA_G || kind == ISA_Z;

	return (has_register && insn->reg == X86_RSP) || insn->vvvv == X86_RSP ||
	       insn->rm == X86_RSP || (!insn->has_memory && (insn->modrm & 7) == X86_RSP);
}
