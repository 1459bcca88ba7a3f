/*
 * One virtual processor: the loop around KVM_RUN, and how other threads get it out of there.
 *
 * To leave the guest, immediate_exit is set first and then a signal is sent. Before the kernel
 * looks at immediate_exit the flag does it, afterwards the signal; there is no gap between. The
 * loop returns to its caller only after KVM_RUN ended with EINTR: by then the kernel has completed
 * the access of the exit before (a port read's register is written), so the state is whole.
 */
#include "base/log.h"
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Interrupts KVM_RUN and does nothing else. */
#define KICK_SIGNAL SIGRTMIN

static void kick_handler(int signal_number)
{
	(void)signal_number;
}

static int install_kick_handler(struct error *err)
{
	struct sigaction action = { .sa_handler = kick_handler };

	if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot handle a signal");
	return 0;
}

int kvm_vcpu_create(
	struct kvm_vcpu *vcpu, struct kvm_engine *engine, unsigned index, struct error *err)
{
	void *run;
	int rc = install_kick_handler(err);

	vcpu->engine = engine;
	vcpu->index = index;
	vcpu->fd = -1;
	if (rc < 0)
		return rc;
	vcpu->fd = ioctl(engine->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM cannot create vCPU %u", index);
	run = mmap(NULL, engine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot map vCPU %u", index);
	vcpu->run = run;
	rc = kvm_clock_set_rate(vcpu);
	if (rc < 0)
		return error_set_errno(err, EXIT_CODE_HOST, -rc,
			"KVM cannot run a time-stamp counter at %llu Hz",
			(unsigned long long)engine->base.cpu_model->tsc_hz);
	rc = kvm_cpuid_set(vcpu, err);
	if (rc < 0)
		return rc;
	rc = kvm_msr_create_machine_checks(vcpu);
	if (rc < 0)
		return error_set_errno(err, EXIT_CODE_HOST, -rc,
			"KVM cannot model machine checks of vCPU %u", index);
	return 0;
}

void kvm_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->engine->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
}

static void set_immediate_exit(struct kvm_vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void kvm_vcpu_interrupt(struct kvm_vcpu *vcpu)
{
	pid_t thread;

	set_immediate_exit(vcpu, 1);
	thread = atomic_load(&vcpu->thread);
	if (thread && thread != (pid_t)syscall(SYS_gettid))
		syscall(SYS_tgkill, getpid(), thread, KICK_SIGNAL);
}

void kvm_vcpu_kick(struct engine *engine, unsigned index)
{
	struct kvm_vcpu *vcpu = &kvm_engine_of(engine)->vcpus[index];

	atomic_store(&vcpu->kicked, true);
	kvm_vcpu_interrupt(vcpu);
}

static uint64_t load_le(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, from, size);
	return value;
}

static void run_pio(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct machine *machine = vcpu->engine->base.machine;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			machine_pio_write(machine, run->io.port, size, load_le(data, size));
		} else {
			uint64_t value = machine_pio_read(machine, run->io.port, size);

			memcpy(data, &value, size);
		}
	}
}

/* The kernel splits at pages, so lengths that are no power of two arrive too. */
static void run_mmio(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct machine *machine = vcpu->engine->base.machine;
	bool smm = machine->has_smm && run->flags & KVM_RUN_X86_SMM;
	unsigned done = 0;

	while (done < run->mmio.len && done < sizeof(run->mmio.data)) {
		gpa_t address = run->mmio.phys_addr + done;
		uint8_t *data = run->mmio.data + done;
		unsigned left = run->mmio.len - done;
		unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;

		if (run->mmio.is_write) {
			(smm ? machine_mmio_write_smm : machine_mmio_write)(
				machine, address, size, load_le(data, size));
		} else {
			uint64_t value = (smm ? machine_mmio_read_smm : machine_mmio_read)(
				machine, address, size);

			memcpy(data, &value, size);
		}
		done += size;
	}
}

static uint64_t guest_rip(struct kvm_vcpu *vcpu)
{
	struct kvm_regs regs;

	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

static bool fail(struct kvm_vcpu *vcpu, struct vcpu_exit *exit, const char *what, uint64_t detail)
{
	exit->reason = VCPU_EXIT_ERROR;
	snprintf(exit->text, sizeof(exit->text), "KVM stopped vCPU %u at rip %#llx: %s (%#llx)",
		vcpu->index, (unsigned long long)guest_rip(vcpu), what, (unsigned long long)detail);
	return true;
}

static bool fail_internal(struct kvm_vcpu *vcpu, struct vcpu_exit *exit)
{
	const struct kvm_run *run = vcpu->run;
	char bytes[3 * sizeof(run->emulation_failure.insn_bytes) + 1] = "unknown";
	unsigned length = 0;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
		return fail(vcpu, exit, "internal error", run->internal.suberror);
	if (run->emulation_failure.ndata >= 1 &&
		(run->emulation_failure.flags &
			KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		for (unsigned i = 0; i < run->emulation_failure.insn_size &&
				     i < sizeof(run->emulation_failure.insn_bytes);
			i++)
			length += snprintf(bytes + length, sizeof(bytes) - length, "%s%02x",
				i ? " " : "", run->emulation_failure.insn_bytes[i]);
	}
	exit->reason = VCPU_EXIT_ERROR;
	snprintf(exit->text, sizeof(exit->text),
		"KVM cannot emulate an instruction of vCPU %u at rip %#llx: %s", vcpu->index,
		(unsigned long long)guest_rip(vcpu), bytes);
	return true;
}

/* What the guest asked for is done when the access that asked for it completes. */
static void notice_machine_request(struct kvm_vcpu *vcpu)
{
	struct machine *machine = vcpu->engine->base.machine;

	if (__atomic_load_n(&machine->request, __ATOMIC_RELAXED) == MACHINE_REQUEST_NONE)
		return;
	atomic_store(&vcpu->kicked, true);
	set_immediate_exit(vcpu, 1);
}

/* Handles one exit; true if `run` has to return. */
static bool dispatch(struct kvm_vcpu *vcpu, struct vcpu_exit *exit)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		kvm_count(vcpu, KVM_COUNT_PIO);
		run_pio(vcpu);
		vcpu->ready_is_stale = true;
		notice_machine_request(vcpu);
		return false;
	case KVM_EXIT_MMIO:
		kvm_count(vcpu, KVM_COUNT_MMIO);
		run_mmio(vcpu);
		vcpu->ready_is_stale = true;
		notice_machine_request(vcpu);
		return false;
	case KVM_EXIT_IOAPIC_EOI:
		kvm_count(vcpu, KVM_COUNT_EOI);
		kvm_irqchip_end_of_interrupt(vcpu, run->eoi.vector);
		return false;
	case KVM_EXIT_IRQ_WINDOW_OPEN: kvm_count(vcpu, KVM_COUNT_INTERRUPT_WINDOW); return false;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		kvm_count(vcpu, KVM_COUNT_MSR);
		kvm_msr_exit(vcpu);
		vcpu->ready_is_stale = true;
		return false;
	case KVM_EXIT_INTR: return false;
	case KVM_EXIT_SHUTDOWN: exit->reason = VCPU_EXIT_TRIPLE_FAULT; return true;
	case KVM_EXIT_FAIL_ENTRY:
		return fail(vcpu, exit, "the processor refused to enter the guest, hardware reason",
			run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR: return fail_internal(vcpu, exit);
	default: return fail(vcpu, exit, "an exit that Atoll does not know", run->exit_reason);
	}
}

static void allow_kick_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* After EINTR: clears what caused it; true if a kick did. */
static bool take_kick(struct kvm_vcpu *vcpu)
{
	set_immediate_exit(vcpu, 0);
	return atomic_exchange(&vcpu->kicked, false);
}

/*
 * With a signal pending, KVM_RUN goes through everything but the guest: above all it turns an
 * expired APIC timer into an interrupt request, which until then is nowhere to be read.
 */
int kvm_vcpu_settle(struct kvm_vcpu *vcpu)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t set;
	} mask = { .header.len = sizeof(mask.set) };
	const struct timespec none = { 0 };
	sigset_t kick, former;
	int rc = 0;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, &former);
	memcpy(&mask.set, &former, sizeof(mask.set));
	mask.set &= ~BIT(KICK_SIGNAL - 1);
	if (ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &mask) < 0) {
		rc = -errno;
	} else {
		vcpu->run->request_interrupt_window = 0;
		set_immediate_exit(vcpu, 0);
		syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), KICK_SIGNAL);
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			rc = -errno;
		sigtimedwait(&kick, NULL, &none);
		ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, NULL);
		/* For the kick that may have come meanwhile. */
		set_immediate_exit(vcpu, 1);
	}
	pthread_sigmask(SIG_SETMASK, &former, NULL);
	return rc;
}

void kvm_vcpus_keep_out(struct kvm_engine *engine)
{
	pthread_mutex_lock(&engine->gate_lock);
	atomic_store(&engine->gate_closed, true);
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		while (atomic_load(&engine->vcpus[i].in_guest)) {
			kvm_vcpu_interrupt(&engine->vcpus[i]);
			sched_yield();
		}
	}
}

void kvm_vcpus_let_in(struct kvm_engine *engine)
{
	atomic_store(&engine->gate_closed, false);
	pthread_mutex_unlock(&engine->gate_lock);
}

/* Returns as KVM_RUN does. */
static int enter(struct kvm_vcpu *vcpu)
{
	struct kvm_engine *engine = vcpu->engine;
	int rc;

	/* Either this thread sees that the gate is closed, or who closes it sees this one inside.
	 */
	atomic_store(&vcpu->in_guest, true);
	while (atomic_load(&engine->gate_closed)) {
		atomic_store(&vcpu->in_guest, false);
		pthread_mutex_lock(&engine->gate_lock);
		pthread_mutex_unlock(&engine->gate_lock);
		atomic_store(&vcpu->in_guest, true);
	}
	rc = ioctl(vcpu->fd, KVM_RUN, 0);
	atomic_store(&vcpu->in_guest, false);
	return rc;
}

static void run_until_exit(struct kvm_vcpu *vcpu, struct vcpu_exit *exit)
{
	for (;;) {
		int rc = kvm_irqchip_prepare(vcpu);

		if (rc < 0) {
			fail(vcpu, exit, "an interrupt cannot be injected", -rc);
			return;
		}
		if (enter(vcpu) == 0) {
			vcpu->ready_is_stale = false;
			if (dispatch(vcpu, exit))
				return;
			continue;
		}
		if (errno != EINTR && errno != EAGAIN) {
			fail(vcpu, exit, strerror(errno), errno);
			return;
		}
		kvm_count(vcpu, KVM_COUNT_INTERRUPTED);
		vcpu->ready_is_stale = false;
		if (take_kick(vcpu)) {
			exit->reason = VCPU_EXIT_KICKED;
			return;
		}
	}
}

void kvm_vcpu_run(struct engine *base, unsigned index, struct vcpu_exit *exit)
{
	struct kvm_vcpu *vcpu = &kvm_engine_of(base)->vcpus[index];

	exit->text[0] = '\0';
	allow_kick_signal();
	kvm_clock_follow(vcpu);
	atomic_store(&vcpu->thread, (pid_t)syscall(SYS_gettid));
	run_until_exit(vcpu, exit);
	atomic_store(&vcpu->thread, 0);
}
