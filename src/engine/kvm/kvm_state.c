/*
 * struct cpu_state to and from the kernel's structures.
 *
 * A vCPU is stopped at an instruction boundary with the access before completed (kvm_vcpu.c), so
 * what the structures hold is all there is. Order matters when setting: CR4 and EFER before the
 * MSRs that depend on them, the TSC and the APIC before the deadline, the events last.
 *
 * Not carried: the FCS and FDS selectors of the x87 unit, and APIC errors not yet latched.
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

static const uint8_t gpr_offsets[X86_NR_GPRS] = {
	[X86_RAX] = offsetof(struct kvm_regs, rax),
	[X86_RCX] = offsetof(struct kvm_regs, rcx),
	[X86_RDX] = offsetof(struct kvm_regs, rdx),
	[X86_RBX] = offsetof(struct kvm_regs, rbx),
	[X86_RSP] = offsetof(struct kvm_regs, rsp),
	[X86_RBP] = offsetof(struct kvm_regs, rbp),
	[X86_RSI] = offsetof(struct kvm_regs, rsi),
	[X86_RDI] = offsetof(struct kvm_regs, rdi),
	[X86_R8] = offsetof(struct kvm_regs, r8),
	[X86_R9] = offsetof(struct kvm_regs, r9),
	[X86_R10] = offsetof(struct kvm_regs, r10),
	[X86_R11] = offsetof(struct kvm_regs, r11),
	[X86_R12] = offsetof(struct kvm_regs, r12),
	[X86_R13] = offsetof(struct kvm_regs, r13),
	[X86_R14] = offsetof(struct kvm_regs, r14),
	[X86_R15] = offsetof(struct kvm_regs, r15),
};

static const uint16_t segment_offsets[X86_NR_SEGMENTS] = {
	[X86_ES] = offsetof(struct kvm_sregs2, es),
	[X86_CS] = offsetof(struct kvm_sregs2, cs),
	[X86_SS] = offsetof(struct kvm_sregs2, ss),
	[X86_DS] = offsetof(struct kvm_sregs2, ds),
	[X86_FS] = offsetof(struct kvm_sregs2, fs),
	[X86_GS] = offsetof(struct kvm_sregs2, gs),
	[X86_LDTR] = offsetof(struct kvm_sregs2, ldt),
	[X86_TR] = offsetof(struct kvm_sregs2, tr),
};

static int get_regs(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return -errno;
	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		memcpy(&state->gpr[i], (char *)&regs + gpr_offsets[i], sizeof(uint64_t));
	state->rip = regs.rip;
	state->rflags = regs.rflags;
	return 0;
}

static int set_regs(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	struct kvm_regs regs = { .rip = state->rip, .rflags = state->rflags };

	for (unsigned i = 0; i < X86_NR_GPRS; i++)
		memcpy((char *)&regs + gpr_offsets[i], &state->gpr[i], sizeof(uint64_t));
	return ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

static void segment_to_state(const struct kvm_segment *from, struct cpu_segment *to)
{
	uint64_t attributes = 0;

	attributes = field_set(SEG_TYPE, attributes, from->type);
	attributes = field_set(SEG_S, attributes, from->s);
	attributes = field_set(SEG_DPL, attributes, from->dpl);
	attributes = field_set(SEG_P, attributes, from->present);
	attributes = field_set(SEG_AVL, attributes, from->avl);
	attributes = field_set(SEG_L, attributes, from->l);
	attributes = field_set(SEG_DB, attributes, from->db);
	attributes = field_set(SEG_G, attributes, from->g);
	attributes = field_set(SEG_UNUSABLE, attributes, from->unusable);
	*to = (struct cpu_segment){
		.base = from->base,
		.limit = from->limit,
		.attributes = attributes,
		.selector = from->selector,
	};
}

static void segment_from_state(const struct cpu_segment *from, struct kvm_segment *to)
{
	uint64_t attributes = from->attributes;

	*to = (struct kvm_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.type = field_get(SEG_TYPE, attributes),
		.s = field_get(SEG_S, attributes),
		.dpl = field_get(SEG_DPL, attributes),
		.present = field_get(SEG_P, attributes),
		.avl = field_get(SEG_AVL, attributes),
		.l = field_get(SEG_L, attributes),
		.db = field_get(SEG_DB, attributes),
		.g = field_get(SEG_G, attributes),
		.unusable = field_get(SEG_UNUSABLE, attributes),
	};
}

static int get_sregs(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	struct kvm_sregs2 sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS2, &sregs) < 0)
		return -errno;
	for (unsigned i = 0; i < X86_NR_SEGMENTS; i++) {
		struct kvm_segment segment;

		memcpy(&segment, (char *)&sregs + segment_offsets[i], sizeof(segment));
		segment_to_state(&segment, &state->segment[i]);
	}
	state->gdtr = (struct cpu_table_register){ sregs.gdt.base, sregs.gdt.limit, { 0 } };
	state->idtr = (struct cpu_table_register){ sregs.idt.base, sregs.idt.limit, { 0 } };
	state->cr0 = sregs.cr0;
	state->cr2 = sregs.cr2;
	state->cr3 = sregs.cr3;
	state->cr4 = sregs.cr4;
	state->efer = sregs.efer;
	state->apic_base = sregs.apic_base;
	if (sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		memcpy(state->pdpte, sregs.pdptrs, sizeof(state->pdpte));
	return 0;
}

static bool is_pae_paging(const struct cpu_state *state)
{
	return (state->cr0 & CR0_PG) && (state->cr4 & CR4_PAE) && !(state->efer & EFER_LMA);
}

static int set_sregs(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	struct kvm_sregs2 sregs = {
		.gdt = { .base = state->gdtr.base, .limit = state->gdtr.limit },
		.idt = { .base = state->idtr.base, .limit = state->idtr.limit },
		.cr0 = state->cr0,
		.cr2 = state->cr2,
		.cr3 = state->cr3,
		.cr4 = state->cr4,
		.cr8 = state->apic.tpr >> 4,
		.efer = state->efer,
		.apic_base = state->apic_base,
	};

	for (unsigned i = 0; i < X86_NR_SEGMENTS; i++) {
		struct kvm_segment segment;

		segment_from_state(&state->segment[i], &segment);
		memcpy((char *)&sregs + segment_offsets[i], &segment, sizeof(segment));
	}
	if (is_pae_paging(state)) {
		sregs.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(sregs.pdptrs, state->pdpte, sizeof(sregs.pdptrs));
	}
	return ioctl(vcpu->fd, KVM_SET_SREGS2, &sregs) < 0 ? -errno : 0;
}

static int get_fpu(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;

	if (ioctl(vcpu->fd, KVM_GET_XSAVE, &xsave) < 0)
		return -errno;
	memcpy(&state->xsave, &xsave, sizeof(state->xsave));
	/* The kernel leaves notes for itself where hardware has reserved bytes. */
	state->xsave.reserved0 = 0;
	memset(state->xsave.reserved1, 0, sizeof(state->xsave.reserved1));
	memset(state->xsave.reserved2, 0, sizeof(state->xsave.reserved2));
	state->xsave.xstate_bv &= XCR0_X87 | XCR0_SSE | XCR0_AVX;
	state->xcr0 = XCR0_X87;
	if (ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs) == 0)
		for (unsigned i = 0; i < xcrs.nr_xcrs; i++)
			if (xcrs.xcrs[i].xcr == 0)
				state->xcr0 = xcrs.xcrs[i].value;
	return 0;
}

static int set_fpu(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	struct kvm_xsave xsave = { 0 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = state->xcr0 } };

	memcpy(&xsave, &state->xsave, sizeof(state->xsave));
	if (ioctl(vcpu->fd, KVM_SET_XSAVE, &xsave) < 0)
		return -errno;
	/* A host without XSAVE has no XCR0, which then is 1. */
	if (ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0 && state->xcr0 != XCR0_X87)
		return -errno;
	return 0;
}

static int get_debug(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	struct kvm_debugregs debug;

	if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug) < 0)
		return -errno;
	for (unsigned i = 0; i < 4; i++)
		state->dr[i] = debug.db[i];
	state->dr6 = debug.dr6;
	state->dr7 = debug.dr7;
	return 0;
}

static int set_debug(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	struct kvm_debugregs debug = { .dr6 = state->dr6, .dr7 = state->dr7 };

	for (unsigned i = 0; i < 4; i++)
		debug.db[i] = state->dr[i];
	return ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug) < 0 ? -errno : 0;
}

static bool is_expired(const struct kvm_lapic_state *page)
{
	struct cpu_apic apic;

	kvm_apic_to_state(page, false, &apic);
	return apic.timer_initial != 0 && apic.timer_current == 0;
}

/*
 * The registers, after whatever the vCPU still had to notice. If the timer expired in between, its
 * interrupt is requested with a second look; if it expires later, it is saved as still running.
 */
static int read_apic_page(struct kvm_vcpu *vcpu, struct kvm_lapic_state *page)
{
	for (unsigned look = 0; look < 2; look++) {
		int rc = kvm_vcpu_settle(vcpu);

		if (rc < 0)
			return rc;
		if (ioctl(vcpu->fd, KVM_GET_LAPIC, page) < 0)
			return -errno;
		if (!is_expired(page))
			break;
	}
	return 0;
}

static int get_apic(
	struct kvm_vcpu *vcpu, const struct kvm_lapic_state *page, struct cpu_state *state)
{
	kvm_apic_to_state(page, state->apic_base & APIC_BASE_X2APIC, &state->apic);
	/* Absent where CPUID does not offer the mode. */
	if (kvm_msr_get(vcpu, MSR_IA32_TSC_DEADLINE, &state->tsc_deadline) < 0)
		state->tsc_deadline = 0;
	return 0;
}

static int set_apic(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	struct kvm_lapic_state page;

	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &page) < 0)
		return -errno;
	kvm_apic_from_state(&state->apic, state->apic_base & APIC_BASE_X2APIC, &page);
	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &page) < 0)
		return -errno;
	if (state->tsc_deadline == 0)
		return 0;
	return kvm_msr_set(vcpu, MSR_IA32_TSC_DEADLINE, state->tsc_deadline);
}

/* An NMI in the middle of its delivery is one that is still to come. */
static int get_events(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	struct kvm_vcpu_events events;

	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return -errno;
	state->interrupt_shadow = events.interrupt.shadow != 0;
	state->interrupt_shadow_mov_ss = (events.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS) != 0;
	state->nmi_pending =
		events.nmi.pending || events.nmi.injected || atomic_load(&vcpu->nmi_raised);
	state->nmi_blocked = events.nmi.masked && !events.nmi.injected;
	kvm_smm_get_events(vcpu, &events, state);
	state->exception_pending = events.exception.injected;
	state->exception_vector = events.exception.injected ? events.exception.nr : 0;
	state->exception_has_error = events.exception.injected && events.exception.has_error_code;
	state->exception_error = state->exception_has_error ? events.exception.error_code : 0;
	state->interrupt_pending = events.interrupt.injected && !events.interrupt.soft;
	state->interrupt_vector = state->interrupt_pending ? events.interrupt.nr : 0;
	return 0;
}

static int set_events(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	struct kvm_vcpu_events events = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.exception = {
			.injected = state->exception_pending,
			.nr = state->exception_vector,
			.has_error_code = state->exception_has_error,
			.error_code = state->exception_error,
		},
		.interrupt = {
			.injected = state->interrupt_pending,
			.nr = state->interrupt_vector,
		},
		.nmi = { .pending = state->nmi_pending, .masked = state->nmi_blocked },
	};

	if (state->interrupt_shadow)
		events.interrupt.shadow = state->interrupt_shadow_mov_ss ? KVM_X86_SHADOW_INT_MOV_SS
									 : KVM_X86_SHADOW_INT_STI;
	kvm_smm_set_events(vcpu, state, &events);
	return ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ? -errno : 0;
}

static int get_activity(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	struct kvm_mp_state mp_state;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp_state) < 0)
		return -errno;
	switch (mp_state.mp_state) {
	case KVM_MP_STATE_HALTED: state->activity = CPU_HALTED; break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED: state->activity = CPU_WAIT_FOR_SIPI; break;
	default: state->activity = CPU_RUNNING; break;
	}
	return 0;
}

static int set_activity(struct kvm_vcpu *vcpu, const struct cpu_state *state)
{
	static const uint32_t states[] = {
		[CPU_RUNNING] = KVM_MP_STATE_RUNNABLE,
		[CPU_HALTED] = KVM_MP_STATE_HALTED,
		[CPU_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
	};
	struct kvm_mp_state mp_state = { .mp_state = states[state->activity] };

	return ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp_state) < 0 ? -errno : 0;
}

int kvm_state_get(struct engine *base, unsigned index, struct cpu_state *state)
{
	struct kvm_vcpu *vcpu = &kvm_engine_of(base)->vcpus[index];
	struct kvm_lapic_state page;
	int rc;

	memset(state, 0, sizeof(*state));
	/* First, and the activity next: both let the vCPU take what was sent to it. */
	rc = read_apic_page(vcpu, &page);
	if (rc == 0)
		rc = get_activity(vcpu, state);
	if (rc == 0)
		rc = get_regs(vcpu, state);
	if (rc == 0)
		rc = get_sregs(vcpu, state);
	if (rc == 0)
		rc = get_fpu(vcpu, state);
	if (rc == 0)
		rc = get_debug(vcpu, state);
	if (rc == 0)
		rc = kvm_msr_get_state(vcpu, state);
	if (rc == 0)
		rc = get_apic(vcpu, &page, state);
	if (rc == 0)
		rc = get_events(vcpu, state);
	if (rc == 0)
		rc = kvm_smm_get_base(vcpu, state);
	if (rc == 0)
		rc = kvm_clock_get_tsc(vcpu, state);
	return rc;
}

/* One step of kvm_state_set: 0 and -errno come from the kernel, `what` goes into the sentence. */
static int checked(int rc, const char *what, unsigned index, struct error *err)
{
	if (rc < 0)
		error_set_errno(err, EXIT_CODE_CONFIG, -rc,
			"this host's KVM refuses the %s of vCPU %u", what, index);
	return rc;
}

int kvm_state_set(
	struct engine *base, unsigned index, const struct cpu_state *state, struct error *err)
{
	struct kvm_engine *engine = kvm_engine_of(base);
	struct kvm_vcpu *vcpu = &engine->vcpus[index];
	struct kvm_mp_state drained;
	int rc;

	vcpu->ready_is_stale = true;
	atomic_store(&vcpu->nmi_raised, false);
	atomic_store(&vcpu->smi_raised, false);
	/* Has the kernel accept an INIT or SIPI sent to the old state, lest the new one get it. */
	ioctl(vcpu->fd, KVM_GET_MP_STATE, &drained);
	rc = checked(set_sregs(vcpu, state), "control registers", index, err);
	if (rc == 0)
		rc = checked(set_regs(vcpu, state), "registers", index, err);
	if (rc == 0)
		rc = checked(set_fpu(vcpu, state), "vector registers", index, err);
	if (rc == 0)
		rc = checked(set_debug(vcpu, state), "debug registers", index, err);
	if (rc == 0)
		rc = checked(kvm_clock_set_tsc(vcpu, state->tsc, state->tsc_time_ns),
			"time-stamp counter", index, err);
	if (rc == 0 && index == 0)
		rc = checked(kvm_clock_set_paravirtual(engine), "clock", index, err);
	if (rc == 0)
		rc = kvm_msr_set_state(vcpu, state, err);
	if (rc == 0)
		rc = checked(set_apic(vcpu, state), "local APIC", index, err);
	if (rc == 0)
		rc = checked(set_activity(vcpu, state), "activity", index, err);
	if (rc == 0)
		rc = checked(kvm_smm_set_base(vcpu, state), "SMBASE", index, err);
	if (rc == 0)
		rc = checked(set_events(vcpu, state), "pending events", index, err);
	return rc;
}
