/*
 * The processor's state: its table, its values after reset and INIT (SDM 3A 10.1.1, table 10-1),
 * and which states no processor could be in.
 *
 * The check refuses what would break an engine's assumptions or what hardware could not hold. It
 * does not judge combinations that are merely odd, such as the segments of "unreal" mode.
 */
#include "x86/cpu_state.h"

#include <string.h>

static const struct state_field segment_fields[] = {
	STATE(struct cpu_segment, base),
	STATE(struct cpu_segment, limit),
	STATE_MAX(struct cpu_segment, attributes, BITS(16, 0)),
	STATE(struct cpu_segment, selector),
	STATE_PAD(struct cpu_segment, reserved),
};

static const struct state_table segment_table =
	STATE_TABLE_OF(struct cpu_segment, "cpu_segment", segment_fields, NULL);

static const struct state_field table_register_fields[] = {
	STATE(struct cpu_table_register, base),
	STATE(struct cpu_table_register, limit),
	STATE_PAD(struct cpu_table_register, reserved),
};

static const struct state_table table_register_table = STATE_TABLE_OF(
	struct cpu_table_register, "cpu_table_register", table_register_fields, NULL);

static const struct state_field xsave_fields[] = {
	STATE(struct cpu_xsave, fcw),
	STATE(struct cpu_xsave, fsw),
	STATE(struct cpu_xsave, ftw),
	STATE_PAD(struct cpu_xsave, reserved0),
	STATE_MAX(struct cpu_xsave, fop, BITS(10, 0)),
	STATE(struct cpu_xsave, fip),
	STATE(struct cpu_xsave, fdp),
	STATE(struct cpu_xsave, mxcsr),
	STATE(struct cpu_xsave, mxcsr_mask),
	STATE_BYTES(struct cpu_xsave, st),
	STATE_BYTES(struct cpu_xsave, xmm),
	STATE_PAD(struct cpu_xsave, reserved1),
	STATE_MAX(struct cpu_xsave, xstate_bv, XCR0_X87 | XCR0_SSE | XCR0_AVX),
	STATE_MAX(struct cpu_xsave, xcomp_bv, 0),
	STATE_PAD(struct cpu_xsave, reserved2),
	STATE_BYTES(struct cpu_xsave, ymm_high),
};

static const struct state_table xsave_table =
	STATE_TABLE_OF(struct cpu_xsave, "cpu_xsave", xsave_fields, NULL);

/* Vectors 0 to 15 cannot be requested (SDM 3A 11.5.2). */
static bool check_apic(const void *opaque, struct error *err)
{
	const struct cpu_apic *apic = opaque;

	if ((apic->irr[0] | apic->isr[0] | apic->tmr[0]) & 0xffff)
		error_set(err, EXIT_CODE_BAD_FILE, "the local APIC holds a vector below 16");
	else if (apic->timer_current > apic->timer_initial)
		error_set(err, EXIT_CODE_BAD_FILE,
			"the local APIC's timer stands above its initial count");
	else
		return true;
	return false;
}

static const struct state_field apic_fields[] = {
	STATE(struct cpu_apic, id),
	STATE_MAX(struct cpu_apic, tpr, 0xff),
	STATE(struct cpu_apic, ldr),
	STATE(struct cpu_apic, dfr),
	STATE_MAX(struct cpu_apic, svr, 0x13ff),
	STATE_MAX(struct cpu_apic, esr, 0xff),
	STATE_MAX(struct cpu_apic, esr_pending, 0xff),
	STATE(struct cpu_apic, icr_low),
	STATE(struct cpu_apic, icr_high),
	STATE_MAX(struct cpu_apic, lvt_cmci, 0x1ffff),
	STATE_MAX(struct cpu_apic, lvt_timer, 0x7ffff),
	STATE_MAX(struct cpu_apic, lvt_thermal, 0x1ffff),
	STATE_MAX(struct cpu_apic, lvt_performance, 0x1ffff),
	STATE_MAX(struct cpu_apic, lvt_lint0, 0x1ffff),
	STATE_MAX(struct cpu_apic, lvt_lint1, 0x1ffff),
	STATE_MAX(struct cpu_apic, lvt_error, 0x1ffff),
	STATE(struct cpu_apic, timer_initial),
	STATE(struct cpu_apic, timer_current),
	STATE_MAX(struct cpu_apic, timer_divide, 0xf),
	STATE_ARRAY(struct cpu_apic, isr),
	STATE_ARRAY(struct cpu_apic, tmr),
	STATE_ARRAY(struct cpu_apic, irr),
	STATE_PAD(struct cpu_apic, reserved),
};

static const struct state_table apic_table =
	STATE_TABLE_OF(struct cpu_apic, "local_apic", apic_fields, check_apic);

#define CR0_KNOWN                                                                                  \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
		CR0_PG)
#define CR4_KNOWN  (BITS(11, 0) | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)
#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR)

static const char *check_control_registers(const struct cpu_state *state)
{
	const bool paging = state->cr0 & CR0_PG;
	const bool long_mode = state->efer & EFER_LMA;

	if (state->cr0 & ~CR0_KNOWN || state->cr4 & ~CR4_KNOWN)
		return "CR0 or CR4 has a reserved bit set";
	if (paging && !(state->cr0 & CR0_PE))
		return "CR0 has PG without PE";
	if (state->cr0 & CR0_NW && !(state->cr0 & CR0_CD))
		return "CR0 has NW without CD";
	if (long_mode != (paging && state->efer & EFER_LME))
		return "EFER.LMA is not EFER.LME and CR0.PG";
	if (long_mode && !(state->cr4 & CR4_PAE))
		return "long mode is active without CR4.PAE";
	if (state->cr4 & CR4_PCIDE && !long_mode)
		return "CR4.PCIDE is set outside long mode";
	if (state->xsave.mxcsr & ~(uint64_t)CPU_MXCSR_WRITABLE)
		return "MXCSR has a reserved bit set";
	if (state->efer & ~EFER_KNOWN)
		return "EFER has a reserved bit set";
	if (state->cr3 & (long_mode ? BITS(63, 52) : BITS(63, 32)))
		return "CR3 has a reserved bit set";
	if (!(state->xcr0 & XCR0_X87) || (state->xcr0 & XCR0_AVX && !(state->xcr0 & XCR0_SSE)))
		return "XCR0 has an impossible combination";
	return NULL;
}

static const char *check_addresses(const struct cpu_state *state)
{
	const uint64_t canonical[] = { state->segment[X86_FS].base, state->segment[X86_GS].base,
		state->segment[X86_LDTR].base, state->segment[X86_TR].base, state->gdtr.base,
		state->idtr.base, state->kernel_gs_base, state->lstar, state->cstar,
		state->sysenter_esp, state->sysenter_eip };
	const bool long_mode = state->efer & EFER_LMA;
	const bool code64 = long_mode && state->segment[X86_CS].attributes & SEG_L;

	for (unsigned i = 0; i < ARRAY_SIZE(canonical); i++) {
		if (!x86_is_canonical(canonical[i]))
			return "a base or an entry point is not canonical";
	}
	for (unsigned i = X86_ES; i <= X86_DS; i++) {
		if (state->segment[i].base >> 32)
			return "a segment base is wider than 32 bits";
	}
	if (code64 ? !x86_is_canonical(state->rip) : state->rip >> 32 != 0)
		return "RIP is outside the code segment's address space";
	if (state->apic_base &
		~(APIC_BASE_ADDRESS | APIC_BASE_ENABLE | APIC_BASE_X2APIC | APIC_BASE_BSP))
		return "the APIC base has a reserved bit set";
	if (state->apic_base & APIC_BASE_X2APIC && !(state->apic_base & APIC_BASE_ENABLE))
		return "x2APIC mode is set in a disabled APIC";
	return NULL;
}

static const char *check_flags(const struct cpu_state *state)
{
	const uint32_t cs = state->segment[X86_CS].attributes;

	if ((state->rflags & ~RFLAGS_WRITABLE) != RFLAGS_ONE)
		return "RFLAGS has a reserved bit wrong";
	if (state->rflags & RFLAGS_VM && (!(state->cr0 & CR0_PE) || state->efer & EFER_LMA))
		return "virtual-8086 mode is set where it cannot be";
	if (state->efer & EFER_LMA && cs & SEG_L && cs & SEG_DB)
		return "the code segment has both L and D";
	if (state->interrupt_shadow_mov_ss && !state->interrupt_shadow)
		return "a shadow of MOV SS is set without a shadow";
	if (state->exception_pending && state->interrupt_pending)
		return "an exception and an interrupt are both being delivered";
	if (state->interrupt_pending && state->activity == CPU_WAIT_FOR_SIPI)
		return "an interrupt is being delivered to a processor that waits for SIPI";
	if (state->smm ? state->activity == CPU_WAIT_FOR_SIPI
		       : state->smm_nmi_blocked || state->init_pending)
		return "system management mode does not go with the events that wait";
	return NULL;
}

static bool memory_type_is_valid(uint8_t type)
{
	return type <= 7 && type != 2 && type != 3; /* SDM 3A table 12-10 */
}

static const char *check_memory_types(const struct cpu_state *state)
{
	for (unsigned i = 0; i < 8; i++) {
		if (!memory_type_is_valid(state->pat >> 8 * i & 0xff))
			return "the PAT has a reserved memory type";
	}
	return NULL;
}

static bool check_cpu(const void *opaque, struct error *err)
{
	static const char *(*const checks[])(const struct cpu_state *) = {
		check_control_registers,
		check_addresses,
		check_flags,
		check_memory_types,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
		const char *why = checks[i](opaque);

		if (why) {
			error_set(err, EXIT_CODE_BAD_FILE, "no processor can be in this state: %s",
				why);
			return false;
		}
	}
	return true;
}

static const struct state_field cpu_fields[] = {
	STATE_ARRAY(struct cpu_state, gpr),
	STATE(struct cpu_state, rip),
	STATE(struct cpu_state, rflags),
	STATE_STRUCTS(struct cpu_state, segment, &segment_table),
	STATE_STRUCT(struct cpu_state, gdtr, &table_register_table),
	STATE_STRUCT(struct cpu_state, idtr, &table_register_table),
	STATE(struct cpu_state, cr0),
	STATE(struct cpu_state, cr2),
	STATE(struct cpu_state, cr3),
	STATE(struct cpu_state, cr4),
	STATE(struct cpu_state, efer),
	STATE_MAX(struct cpu_state, xcr0, XCR0_X87 | XCR0_SSE | XCR0_AVX),
	STATE_ARRAY(struct cpu_state, dr),
	STATE_MAX(struct cpu_state, dr6, UINT32_MAX),
	STATE_MAX(struct cpu_state, dr7, UINT32_MAX),
	STATE_ARRAY(struct cpu_state, pdpte),
	STATE(struct cpu_state, star),
	STATE(struct cpu_state, lstar),
	STATE(struct cpu_state, cstar),
	STATE_MAX(struct cpu_state, sfmask, UINT32_MAX),
	STATE(struct cpu_state, kernel_gs_base),
	STATE(struct cpu_state, sysenter_cs),
	STATE(struct cpu_state, sysenter_esp),
	STATE(struct cpu_state, sysenter_eip),
	STATE(struct cpu_state, tsc),
	STATE_TIME(struct cpu_state, tsc_time_ns),
	STATE(struct cpu_state, tsc_adjust),
	STATE(struct cpu_state, tsc_aux),
	STATE(struct cpu_state, tsc_deadline),
	STATE(struct cpu_state, pat),
	STATE(struct cpu_state, apic_base),
	STATE(struct cpu_state, misc_enable),
	STATE(struct cpu_state, spec_ctrl),
	STATE(struct cpu_state, debugctl),
	STATE_MAX(struct cpu_state, xss, 0),
	STATE(struct cpu_state, mtrr_def_type),
	STATE_ARRAY(struct cpu_state, mtrr_fixed),
	STATE_ARRAY(struct cpu_state, mtrr_base),
	STATE_ARRAY(struct cpu_state, mtrr_mask),
	STATE(struct cpu_state, mcg_status),
	STATE(struct cpu_state, mcg_ctl),
	STATE_MATRIX(struct cpu_state, mc_bank),
	STATE(struct cpu_state, kvm_system_time),
	STATE(struct cpu_state, kvm_wall_clock),
	STATE(struct cpu_state, kvm_pv_eoi),
	STATE(struct cpu_state, kvm_poll_control),
	STATE_MAX(struct cpu_state, activity, CPU_WAIT_FOR_SIPI),
	STATE(struct cpu_state, interrupt_shadow),
	STATE(struct cpu_state, interrupt_shadow_mov_ss),
	STATE(struct cpu_state, nmi_blocked),
	STATE(struct cpu_state, nmi_pending),
	STATE(struct cpu_state, exception_pending),
	STATE(struct cpu_state, exception_has_error),
	STATE_MAX(struct cpu_state, exception_vector, 31),
	STATE(struct cpu_state, exception_error),
	STATE(struct cpu_state, interrupt_pending),
	STATE(struct cpu_state, interrupt_vector),
	STATE(struct cpu_state, smm),
	STATE(struct cpu_state, smm_nmi_blocked),
	STATE(struct cpu_state, smi_pending),
	STATE(struct cpu_state, init_pending),
	STATE_PAD(struct cpu_state, reserved),
	STATE(struct cpu_state, smbase),
	STATE_STRUCT(struct cpu_state, apic, &apic_table),
	STATE_PAD(struct cpu_state, reserved_before_xsave),
	STATE_STRUCT(struct cpu_state, xsave, &xsave_table),
};

const struct state_table cpu_state_table =
	STATE_TABLE_OF(struct cpu_state, "cpu", cpu_fields, check_cpu);

static struct cpu_segment real_mode_segment(uint32_t type)
{
	return (struct cpu_segment){ .limit = 0xffff, .attributes = SEG_P | SEG_S | type };
}

static void reset_apic(struct cpu_apic *apic, uint32_t id)
{
	uint32_t *lvt[] = { &apic->lvt_cmci, &apic->lvt_timer, &apic->lvt_thermal,
		&apic->lvt_performance, &apic->lvt_lint0, &apic->lvt_lint1, &apic->lvt_error };

	memset(apic, 0, sizeof(*apic));
	apic->id = id;
	apic->dfr = UINT32_MAX;
	apic->svr = 0xff;
	for (unsigned i = 0; i < ARRAY_SIZE(lvt); i++)
		*lvt[i] = CPU_APIC_LVT_MASKED;
}

/* What reset and INIT have in common. */
static void reset_common(struct cpu_state *state, unsigned index)
{
	const uint32_t data = SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED;

	memset(state->gpr, 0, sizeof(state->gpr));
	state->gpr[X86_RDX] = 0x600; /* a signature; the exact one is CPUID's */
	state->rip = 0xfff0;
	state->rflags = RFLAGS_ONE;
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		state->segment[i] = real_mode_segment(data);
	state->segment[X86_CS] =
		real_mode_segment(SEG_TYPE_CODE | SEG_TYPE_READABLE | SEG_TYPE_ACCESSED);
	state->segment[X86_CS].selector = 0xf000;
	state->segment[X86_CS].base = 0xffff0000;
	state->segment[X86_LDTR] =
		(struct cpu_segment){ .limit = 0xffff, .attributes = SEG_P | SEG_TYPE_LDT };
	state->segment[X86_TR] =
		(struct cpu_segment){ .limit = 0xffff, .attributes = SEG_P | SEG_TYPE_TSS_BUSY };
	state->gdtr = state->idtr = (struct cpu_table_register){ .limit = 0xffff };
	state->cr0 = (state->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	state->cr2 = state->cr3 = state->cr4 = 0;
	state->efer = 0;
	memset(state->dr, 0, sizeof(state->dr));
	state->dr6 = 0xffff0ff0;
	state->dr7 = 0x400;
	memset(state->pdpte, 0, sizeof(state->pdpte));

	state->activity = index == 0 ? CPU_RUNNING : CPU_WAIT_FOR_SIPI;
	state->interrupt_shadow = state->interrupt_shadow_mov_ss = false;
	state->nmi_blocked = state->nmi_pending = false;
	state->exception_pending = state->exception_has_error = false;
	state->exception_vector = 0;
	state->exception_error = 0;
	state->interrupt_pending = false;
	state->interrupt_vector = 0;
	state->smm = state->smm_nmi_blocked = false;
	state->smi_pending = state->init_pending = false;
	state->tsc_deadline = 0;
	reset_apic(&state->apic, index);
}

void cpu_state_reset(struct cpu_state *state, unsigned index)
{
	memset(state, 0, sizeof(*state));
	state->cr0 = CR0_CD | CR0_NW;
	reset_common(state, index);
	state->xcr0 = XCR0_X87;
	state->pat = UINT64_C(0x0007040600070406);
	state->apic_base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE;
	if (index == 0)
		state->apic_base |= APIC_BASE_BSP;
	state->misc_enable = CPU_MISC_ENABLE_RESET;
	state->mcg_ctl = UINT64_MAX;
	for (unsigned bank = 0; bank < ARRAY_SIZE(state->mc_bank); bank++)
		state->mc_bank[bank][0] = UINT64_MAX;
	state->kvm_poll_control = 1;
	state->smbase = CPU_SMBASE_RESET;

	state->xsave.fcw = 0x40;
	state->xsave.ftw = 0xff; /* tag word 5555H: all zero, none empty */
	state->xsave.mxcsr = 0x1f80;
	state->xsave.mxcsr_mask = 0xffff;
	state->xsave.xstate_bv = XCR0_X87 | XCR0_SSE;
}

void cpu_state_init(struct cpu_state *state, unsigned index)
{
	reset_common(state, index);
}

void cpu_state_firmware(struct cpu_state *state, unsigned index)
{
	state->mtrr_def_type = CPU_MTRR_ENABLE | CPU_MEMORY_TYPE_WB;
	state->cr0 &= ~(CR0_CD | CR0_NW);
	if (index != 0)
		return;
	state->apic.svr = 0x1ff;
	state->apic.lvt_lint0 = 7 << 8; /* ExtINT */
	state->apic.lvt_lint1 = 4 << 8; /* NMI */
}
