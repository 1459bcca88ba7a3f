/*
 * Conversion between struct vcpu and struct cpu_state, INIT and SIPI (SDM 3A 9.4), and the A20
 * gate. Not compiled without vectors: what runs here has put the guest's registers away.
 */
#include "engine/soft/apic.h"
#include "engine/soft/code_pages.h"
#include "engine/soft/mmu.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vector.h"

#include <string.h>

/* Fields that have the same name and form in both. */
#define FOR_PLAIN_FIELDS(X)                                                                        \
	X(gpr)                                                                                     \
	X(rip)                                                                                     \
	X(segment)                                                                                 \
	X(gdtr)                                                                                    \
	X(idtr)                                                                                    \
	X(cr0)                                                                                     \
	X(cr2)                                                                                     \
	X(cr3)                                                                                     \
	X(cr4)                                                                                     \
	X(efer)                                                                                    \
	X(xcr0)                                                                                    \
	X(dr)                                                                                      \
	X(dr6)                                                                                     \
	X(dr7)                                                                                     \
	X(pdpte)                                                                                   \
	X(star)                                                                                    \
	X(lstar)                                                                                   \
	X(cstar)                                                                                   \
	X(sfmask)                                                                                  \
	X(kernel_gs_base)                                                                          \
	X(sysenter_cs)                                                                             \
	X(sysenter_esp)                                                                            \
	X(sysenter_eip)                                                                            \
	X(tsc_adjust)                                                                              \
	X(tsc_aux)                                                                                 \
	X(tsc_deadline)                                                                            \
	X(pat)                                                                                     \
	X(apic_base)                                                                               \
	X(misc_enable)                                                                             \
	X(spec_ctrl)                                                                               \
	X(debugctl)                                                                                \
	X(xss)                                                                                     \
	X(mtrr_def_type)                                                                           \
	X(mtrr_fixed)                                                                              \
	X(mtrr_base)                                                                               \
	X(mtrr_mask)                                                                               \
	X(mcg_status)                                                                              \
	X(mcg_ctl)                                                                                 \
	X(mc_bank)                                                                                 \
	X(kvm_system_time)                                                                         \
	X(kvm_wall_clock)                                                                          \
	X(kvm_poll_control)                                                                        \
	X(activity)                                                                                \
	X(nmi_blocked)                                                                             \
	X(exception_pending)                                                                       \
	X(exception_has_error)                                                                     \
	X(exception_vector)                                                                        \
	X(exception_error)                                                                         \
	X(interrupt_pending)                                                                       \
	X(interrupt_vector)                                                                        \
	X(smm)                                                                                     \
	X(smm_nmi_blocked)                                                                         \
	X(smbase)

#define COPY_FIELD(field)                                                                          \
	_Static_assert(                                                                            \
		sizeof(((struct vcpu *)0)->field) == sizeof(((struct cpu_state *)0)->field),       \
		#field);                                                                           \
	memcpy(&to->field, &from->field, sizeof(to->field));

/* Everything but the time-stamp counter. */
static void get_registers(struct vcpu *from, struct cpu_state *to)
{
	memset(to, 0, sizeof(*to));
	FOR_PLAIN_FIELDS(COPY_FIELD)
	to->rflags = vcpu_rflags(from);
	to->interrupt_shadow = from->shadow_active && from->shadow_rip == from->rip;
	to->interrupt_shadow_mov_ss = to->interrupt_shadow && from->shadow_mov_ss;
	to->nmi_pending = atomic_load(&from->requests) & REQUEST_NMI;
	to->smi_pending = atomic_load(&from->requests) & REQUEST_SMI;
	to->init_pending = from->smm && atomic_load(&from->requests) & REQUEST_INIT;
	apic_get_state(from, &to->apic);
	vector_get(from, &to->xsave);
}

static void set_registers(struct vcpu *to, const struct cpu_state *from)
{
	const uint64_t kept = REQUEST_KICK | REQUEST_FLUSH_TLB;

	atomic_fetch_and(&to->requests, kept);
	FOR_PLAIN_FIELDS(COPY_FIELD)
	to->next_rip = to->rip;
	to->flags_system = from->rflags;
	vcpu_set_rflags(to, from->rflags);
	to->shadow_active = from->interrupt_shadow;
	to->shadow_mov_ss = from->interrupt_shadow_mov_ss;
	to->shadow_rip = from->rip;
	to->delivering = 0;
	to->shutdown = false;
	to->debug_pending = 0;
	to->single_step = false;
	if (from->nmi_pending)
		vcpu_request(to, REQUEST_NMI);
	if (from->smi_pending)
		vcpu_request(to, REQUEST_SMI);
	if (from->init_pending)
		vcpu_request(to, REQUEST_INIT);
	apic_set_state(to, &from->apic);
	vector_set(to, &from->xsave);
	mmu_flush_all(to);
	vcpu_update_mode(to);
}

void vcpu_get_state(struct vcpu *vcpu, struct cpu_state *state)
{
	uint64_t requests = atomic_load(&vcpu->requests) & (REQUEST_INIT | REQUEST_SIPI);

	/* In SMM they wait, INIT in the state; a start-up message alone has no meaning there. */
	if (requests && !vcpu->smm) {
		atomic_fetch_and(&vcpu->requests, ~requests);
		vcpu_take_init_sipi(vcpu, requests);
	}
	get_registers(vcpu, state);
	state->tsc_time_ns = clock_now(&vcpu->machine->clock);
	state->tsc = tsc_at(vcpu, state->tsc_time_ns);
}

void vcpu_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
	tsc_set_at(vcpu, state->tsc, state->tsc_time_ns);
	set_registers(vcpu, state);
	atomic_store(&vcpu->kvmclock_stale, true);
}

static void take_init(struct vcpu *vcpu)
{
	struct cpu_state state;

	vector_leave(vcpu);
	get_registers(vcpu, &state);
	cpu_state_init(&state, vcpu->index);
	set_registers(vcpu, &state);
}

/* SDM 3A 9.4.4.2: vector V starts at V000h, with CS = V00h. */
static void take_sipi(struct vcpu *vcpu)
{
	uint32_t vector = atomic_load(&vcpu->sipi_vector) & 0xff;

	if (vcpu->activity != CPU_WAIT_FOR_SIPI)
		return;
	vcpu->segment[X86_CS].selector = (uint16_t)(vector << 8);
	vcpu->segment[X86_CS].base = vector << 12;
	vcpu->rip = vcpu->next_rip = 0;
	vcpu->activity = CPU_RUNNING;
	vcpu_update_mode(vcpu);
}

void vcpu_take_init_sipi(struct vcpu *vcpu, uint64_t requests)
{
	if (requests & REQUEST_INIT)
		take_init(vcpu);
	if (requests & REQUEST_SIPI)
		take_sipi(vcpu);
}

void vcpu_take_flush(struct vcpu *vcpu)
{
	vcpu->a20_mask = atomic_load(&vcpu->engine->a20_mask);
	mmu_flush_all(vcpu);
	code_pages_settle(vcpu);
}
