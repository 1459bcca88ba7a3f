/*
 * Does each process keep its vector registers? Several run at once, each with values of its own in
 * the x87 and AVX (or SSE) registers and control words, yield to each other, are interrupted, and
 * look. Then unmasked exceptions must arrive as signals that say what happened (signal(7), SIGFPE).
 *
 *	vector-state [PROCESSES [ROUNDS]]
 *
 * Prints "ok", or a line for each thing that is wrong.
 */
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define NR_REGISTERS 16
#define SPIN         "3000"
#define SCHED_YIELD  "24" /* arch/x86/entry/syscalls/syscall_64.tbl */

struct registers {
	uint8_t vector[NR_REGISTERS][32];
	double x87;
	uint32_t mxcsr;
	uint16_t fcw;
};

static struct registers before __attribute__((aligned(32)));
static struct registers after __attribute__((aligned(32)));
static int has_avx;

#define EACH_REGISTER(move)                                                                        \
	move(0) move(1) move(2) move(3) move(4) move(5) move(6) move(7) move(8) move(9) move(10)   \
		move(11) move(12) move(13) move(14) move(15)
#define LOAD_YMM(n)  "vmovdqa " #n "*32(%0), %%ymm" #n "\n\t"
#define STORE_YMM(n) "vmovdqa %%ymm" #n ", " #n "*32(%1)\n\t"
#define LOAD_XMM(n)  "movdqa " #n "*32(%0), %%xmm" #n "\n\t"
#define STORE_XMM(n) "movdqa %%xmm" #n ", " #n "*32(%1)\n\t"
/* SCHED_YIELD, a while of one's own, SCHED_YIELD. */
#define WAIT                                                                                       \
	"mov $" SCHED_YIELD ", %%eax\n\t"                                                          \
	"syscall\n\t"                                                                              \
	"mov $" SPIN ", %%ecx\n"                                                                   \
	"1: dec %%ecx\n\t"                                                                         \
	"jnz 1b\n\t"                                                                               \
	"mov $" SCHED_YIELD ", %%eax\n\t"                                                          \
	"syscall\n\t"
#define ALL_XMM                                                                                    \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static void hold_vectors(void)
{
	if (has_avx)
		__asm__ volatile(EACH_REGISTER(LOAD_YMM) WAIT EACH_REGISTER(STORE_YMM) "vzeroupper"
				 :
				 : "b"(before.vector), "D"(after.vector)
				 : "rax", "rcx", "r11", "memory", ALL_XMM);
	else
		__asm__ volatile(EACH_REGISTER(LOAD_XMM) WAIT EACH_REGISTER(STORE_XMM)
				 :
				 : "b"(before.vector), "D"(after.vector)
				 : "rax", "rcx", "r11", "memory", ALL_XMM);
}

static int round_is_right(unsigned process, unsigned n)
{
	static const uint32_t plain_mxcsr = 0x1f80;

	memset(&after, 0, sizeof(after));
	for (unsigned i = 0; i < NR_REGISTERS; i++)
		for (unsigned k = 0; k < (has_avx ? 32 : 16); k++)
			before.vector[i][k] = (uint8_t)(process * 31 + i * 7 + k * 3 + n);
	before.x87 = process * 1.5 + n;
	before.fcw = (uint16_t)(0x037f ^ (process & 3) << 10); /* rounding control */
	before.mxcsr = plain_mxcsr ^ (process & 3) << 13;
	__asm__ volatile("fldcw %0\n\tldmxcsr %1\n\tfldl %2"
			 :
			 : "m"(before.fcw), "m"(before.mxcsr), "m"(before.x87));
	hold_vectors();
	__asm__ volatile("fstpl %2\n\tstmxcsr %1\n\tfnstcw %0\n\tldmxcsr %3\n\tfninit"
			 : "=m"(after.fcw), "=m"(after.mxcsr), "=m"(after.x87)
			 : "m"(plain_mxcsr));
	return memcmp(before.vector, after.vector, sizeof(before.vector)) == 0 &&
	       before.x87 == after.x87 && before.mxcsr == after.mxcsr && before.fcw == after.fcw;
}

static int process_main(unsigned process, unsigned rounds)
{
	for (unsigned n = 0; n < rounds; n++) {
		if (!round_is_right(process, n)) {
			printf("process %u lost its registers in round %u\n", process, n);
			return 1;
		}
	}
	return 0;
}

static int run_processes(unsigned processes, unsigned rounds)
{
	int wrong = 0, status;

	for (unsigned i = 0; i < processes; i++) {
		int pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0)
			exit(process_main(i, rounds));
	}
	while (wait(&status) > 0)
		wrong |= status;
	return wrong;
}

static volatile sig_atomic_t signal_code;

/* Masks all exceptions, so that the instruction completes when it is repeated. */
static void on_exception(int number, siginfo_t *info, void *context)
{
	struct _libc_fpstate *state = ((ucontext_t *)context)->uc_mcontext.fpregs;

	(void)number;
	signal_code = info->si_code;
	state->mxcsr |= 0x1f80;
	state->cwd |= 0x3f;
	state->swd &= (uint16_t)~0x80ff;
}

static int exceptions_are_wrong(void)
{
	const struct sigaction action = { .sa_sigaction = on_exception, .sa_flags = SA_SIGINFO };
	static const uint32_t mxcsr = 0x1d80; /* division by zero unmasked */
	static const uint16_t fcw = 0x037b;   /* likewise */
	double one = 1, zero = 0;
	int wrong = 0;

	sigaction(SIGFPE, &action, NULL);
	__asm__ volatile("ldmxcsr %1\n\tdivsd %2, %0" : "+x"(one) : "m"(mxcsr), "x"(zero));
	if (signal_code != FPE_FLTDIV) {
		printf("SSE division by zero: si_code %d\n", (int)signal_code);
		wrong = 1;
	}
	signal_code = 0;
	__asm__ volatile("fldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait\n\tfninit" : : "m"(fcw));
	if (signal_code != FPE_FLTDIV) {
		printf("x87 division by zero: si_code %d\n", (int)signal_code);
		wrong = 1;
	}
	return wrong;
}

int main(int argc, char **argv)
{
	unsigned processes = argc > 1 ? (unsigned)atoi(argv[1]) : 4;
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 1000;
	unsigned eax, ebx, ecx, edx;

	has_avx = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_AVX) && (ecx & bit_OSXSAVE);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (run_processes(processes, rounds) || exceptions_are_wrong())
		return 1;
	puts("ok");
	return 0;
}
