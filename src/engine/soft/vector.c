/*
 * The guest's vector registers in the host's unit, and the instructions that pass through to it.
 *
 * An unmasked exception of an instruction in a thunk is a signal here. The handler lets the thread
 * go on in vector_raise instead, as if the thunk had called it: signals save and restore the live
 * registers, so that the guest sees them as the exception left them. Linux delivers #MF and #XM as
 * SIGFPE, #UD as SIGILL and #GP as SIGSEGV (SDM 3A 6.15).
 */
#include "engine/soft/vector.h"

#include "engine/soft/execute.h"
#include "engine/soft/vector_state.h"
#include "engine/soft/thunk.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

/*
 * The vCPU whose registers are live in this thread: the signal handler has no other way to know.
 */
static __thread struct vcpu *live_vcpu;

/* Signal dispositions are the process's, and so is what they were before. */
static pthread_mutex_t signals_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous_fpe, previous_ill, previous_segv, previous_bus;

/* What the C ABI expects, and nothing of the guest's. */
static const struct cpu_xsave clean __attribute__((aligned(64))) = {
	.fcw = X87_FCW_RESET,
	.mxcsr = MXCSR_RESET,
};

static void host_restore(const struct vcpu *vcpu, const struct cpu_xsave *image)
{
	if (vcpu->vector_components & XCR0_AVX)
		__asm__ volatile("vzeroupper");
	if (vcpu->vector_components)
		__asm__ volatile("xrstor64 %0"
				 :
				 : "m"(*image), "a"(vcpu->vector_components), "d"(0));
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(*image));
}

void vector_load(struct vcpu *vcpu)
{
	if (vcpu->vector_live)
		return;
	host_restore(vcpu, vector_image(vcpu));
	vcpu->vector_live = true;
	live_vcpu = vcpu;
}

void vector_store(struct vcpu *vcpu)
{
	if (!vcpu->vector_live)
		return;
	if (vcpu->vector_components) {
		__asm__ volatile("xsave64 %0"
				 : "+m"(vcpu->xsave)
				 : "a"(vcpu->vector_components), "d"(0));
	} else {
		__asm__ volatile("fxsave64 %0" : "+m"(vcpu->xsave));
		vcpu->xsave.xstate_bv = XCR0_X87 | XCR0_SSE;
	}
	live_vcpu = NULL;
	vcpu->vector_live = false;
	host_restore(vcpu, &clean);
}

static _Noreturn void vector_raise(struct vcpu *vcpu, uint64_t vector)
{
	vector_settle(vcpu);
	switch (vector) {
	case X86_MF: cpu_raise(vcpu, X86_MF);
	case X86_XM: cpu_raise(vcpu, vcpu->cr4 & CR4_OSXMMEXCPT ? X86_XM : X86_UD);
	case X86_GP: cpu_raise_error(vcpu, X86_GP, 0);
	default: cpu_raise(vcpu, X86_UD);
	}
}

static struct sigaction *previous_action(int number)
{
	switch (number) {
	case SIGFPE: return &previous_fpe;
	case SIGILL: return &previous_ill;
	case SIGBUS: return &previous_bus;
	default: return &previous_segv;
	}
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	const struct sigaction *action = previous_action(number);

	if (action->sa_flags & SA_SIGINFO) {
		action->sa_sigaction(number, info, context);
	} else if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
		/* Returning repeats what faulted; a signal that was sent is sent again. */
		signal(number, SIG_DFL);
		if (info->si_code <= 0)
			raise(number);
	} else {
		action->sa_handler(number);
	}
}

static void signal_handler(int number, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct vcpu *vcpu = live_vcpu;

	if (info->si_code > 0 && translate_take_signal(context))
		return;
	if (!vcpu || info->si_code <= 0 ||
		!thunk_cache_contains(vcpu->thunks, (uintptr_t)regs[REG_RIP])) {
		pass_on(number, info, context);
		return;
	}
	regs[REG_RDI] = (greg_t)(uintptr_t)vcpu;
	regs[REG_RSI] = regs[REG_TRAPNO];
	regs[REG_RIP] = (greg_t)(uintptr_t)vector_raise;
}

/* A blocked signal of an instruction would end the process, and the mask is the parent's. */
static void unblock_signal(int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void take_signal(int number)
{
	const struct sigaction action = { .sa_sigaction = signal_handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct sigaction current;

	unblock_signal(number);
	sigaction(number, NULL, &current);
	if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == signal_handler)
		return;
	*previous_action(number) = current;
	sigaction(number, &action, NULL);
}

void vector_take_signals(void)
{
	pthread_mutex_lock(&signals_lock);
	take_signal(SIGFPE);
	take_signal(SIGILL);
	take_signal(SIGSEGV);
	take_signal(SIGBUS);
	pthread_mutex_unlock(&signals_lock);
}

/* Of x87, SSE and AVX, what the host's XSAVE manages; 0 if it has no XSAVE. */
static uint32_t host_components(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
		return 0;
	__asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
}

int vector_init(struct soft_engine *engine, struct error *err)
{
	uint32_t components = host_components();

	vector_take_signals();
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *vcpu = &engine->vcpus[i];
		int ret = thunk_cache_create(&vcpu->thunks);

		if (ret < 0) {
			vector_finish(engine);
			return error_set_errno(err, EXIT_CODE_HOST, -ret,
				"cannot make the code cache of vCPU %u", i);
		}
		vcpu->vector_components = components;
		vector_set(vcpu, &clean);
	}
	return 0;
}

void vector_finish(struct soft_engine *engine)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		vector_leave(&engine->vcpus[i]);
		thunk_cache_destroy(engine->vcpus[i].thunks);
		engine->vcpus[i].thunks = NULL;
	}
}
