/*
 * System management mode under KVM (api.rst: KVM_SMI, KVM_CAP_X86_SMM,
 * KVM_CAP_MULTI_ADDRESS_SPACE). Entry, RSM and the save map are the kernel's. A processor in SMM
 * sees the second address space, which has the same slots but for memory of the kind RAM_SMM. Only
 * on machines that have SMM.
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <sys/ioctl.h>

#define MSR_IA32_SMBASE 0x9e

static void raise_smi(void *context)
{
	struct kvm_engine *engine = context;

	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		atomic_store(&engine->vcpus[i].smi_raised, true);
		kvm_vcpu_interrupt(&engine->vcpus[i]);
	}
}

int kvm_smm_create(struct kvm_engine *engine, struct error *err)
{
	struct machine *machine = engine->base.machine;

	if (!machine->has_smm)
		return 0;
	if (ioctl(engine->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) <= 0 ||
		ioctl(engine->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MULTI_ADDRESS_SPACE) < 2)
		return error_set(err, EXIT_CODE_CONFIG,
			"this host's KVM has no system management mode, which Secure Boot needs; "
			"use --engine soft");
	machine->cpu_bus.smi = raise_smi;
	return 0;
}

int kvm_smm_prepare(struct kvm_vcpu *vcpu)
{
	if (!atomic_exchange(&vcpu->smi_raised, false))
		return 0;
	return ioctl(vcpu->fd, KVM_SMI, 0) < 0 ? -errno : 0;
}

int kvm_smm_get_base(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	uint64_t base = CPU_SMBASE_RESET;
	int rc = 0;

	if (vcpu->engine->base.machine->has_smm)
		rc = kvm_msr_get(vcpu, MSR_IA32_SMBASE, &base);
	state->smbase = (uint32_t)base;
	return rc;
}

int kvm_smm_set_base(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	if (!vcpu->engine->base.machine->has_smm)
		return 0;
	return kvm_msr_set(vcpu, MSR_IA32_SMBASE, state->smbase);
}

void kvm_smm_get_events(
	struct kvm_vcpu *vcpu, const struct kvm_vcpu_events *events, struct cpu_state *state)
{
	if (!vcpu->engine->base.machine->has_smm)
		return;
	state->smm = events->smi.smm;
	state->smm_nmi_blocked = events->smi.smm && events->smi.smm_inside_nmi;
	state->smi_pending = events->smi.pending || atomic_load(&vcpu->smi_raised);
	state->init_pending = events->smi.smm && events->smi.latched_init;
}

void kvm_smm_set_events(
	struct kvm_vcpu *vcpu, const struct cpu_state *state, struct kvm_vcpu_events *events)
{
	if (!vcpu->engine->base.machine->has_smm)
		return;
	events->flags |= KVM_VCPUEVENT_VALID_SMM;
	events->smi.smm = state->smm;
	events->smi.smm_inside_nmi = state->smm_nmi_blocked;
	events->smi.pending = state->smi_pending;
	events->smi.latched_init = state->init_pending;
}
