/*
 * Transitions between privileges, and between what a privilege may access: SYSCALL, SYSRET, STAC
 * and CLAC (SDM 2). Where it goes on is in another set of the TLB and so in other translations.
 *
 * As exec_fast_call.c and exec_flags.c have them, but that whatever would be followed by a trap, by
 * alignment checks or by an exception is left to those.
 */
#include "engine/soft/translator.h"

#include "engine/soft/descriptor.h"

#define SYSTEM_FLAGS ((uint32_t)(RFLAGS_WRITABLE & ~(RFLAGS_ARITHMETIC | RFLAGS_RF | RFLAGS_VM)))

static void leave_if(struct work *work, unsigned condition)
{
	work_stub(work, emit_jcc(&work->emitter, condition), EXIT_INSN, 0, false);
}

static void set_pointer(struct work *work, size_t offset, const void *pointer)
{
	emit_load_immediate(&work->emitter, TEMP_B, (uintptr_t)pointer);
	emit_state_op(&work->emitter, OPCODE_STORE, TEMP_B, offset);
}

static void set_data_set(struct work *work, enum tlb_set set)
{
	set_pointer(
		work, offsetof(struct vcpu, tlb_data), work->translator->vcpu->tlb.entries[set]);
}

/* As set_segments makes it of the word of STAR at `star`. */
static void set_segment(struct work *work, unsigned segment, size_t star, unsigned addend,
	unsigned cpl, uint32_t attributes)
{
	struct emitter *emitter = &work->emitter;
	size_t at = offsetof(struct vcpu, segment) + segment * sizeof(struct cpu_segment);

	emit_load_state_u16(emitter, TEMP_B, offsetof(struct vcpu, star) + star);
	emit_group(emitter, GROUP_ADD, TEMP_B, addend);
	emit_group(emitter, GROUP_AND, TEMP_B, UINT16_MAX & ~SELECTOR_RPL);
	emit_group(emitter, GROUP_OR, TEMP_B, cpl);
	emit_state_op(emitter, OPCODE_STORE, TEMP_B, at + offsetof(struct cpu_segment, selector));
	emit_store_state_i64(emitter, at + offsetof(struct cpu_segment, base), 0);
	emit_store_state_u32(emitter, at + offsetof(struct cpu_segment, limit), UINT32_MAX);
	emit_store_state_u32(emitter, at + offsetof(struct cpu_segment, attributes),
		attributes | (uint32_t)field_set(SEG_DPL, 0, cpl));
}

static void set_privilege(struct work *work, unsigned cpl, enum tlb_set set)
{
	emit_store_state_u8(&work->emitter, offsetof(struct vcpu, mode.cpl), (uint8_t)cpl);
	set_data_set(work, set);
	set_pointer(
		work, offsetof(struct vcpu, tlb_code), work->translator->vcpu->tlb.entries[set]);
}

static void need_syscall(struct work *work)
{
	emit_state_test(&work->emitter, offsetof(struct vcpu, efer), EFER_SCE);
	leave_if(work, CONDITION_E);
}

void work_syscall(struct work *work)
{
	static const uint8_t not_r10[] = { 0x49, 0xf7, 0xd2 };
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);

	work_rflags(work);
	need_syscall(work);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, offsetof(struct vcpu, sfmask));
	emit_bytes(emitter, not_r10, sizeof(not_r10));
	emit_register_op(emitter, OPCODE_AND, TEMP_A, TEMP_B);
	emit_test(emitter, TEMP_A, RFLAGS_TF | RFLAGS_AC);
	leave_if(work, CONDITION_NE);
	work_set_rflags(work, SYSTEM_FLAGS);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, spill);
	emit_store_gpr(emitter, TEMP_B, X86_R11);
	set_segment(work, X86_CS, 4, 0, 0, SEGMENT_FLAT_CODE | SEG_L);
	set_segment(work, X86_SS, 4, 8, 0, SEGMENT_FLAT_DATA);
	set_privilege(work, 0, TLB_SUPERVISOR);
	work_load_address(work, X86_RCX, work->next_rip);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, offsetof(struct vcpu, lstar));
	work_jump_r11(work, TLB_SUPERVISOR);
}

/* To 64-bit code. */
void work_sysret(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	need_syscall(work);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_A, X86_RCX);
	work_check_canonical(work);
	emit_load_gpr(emitter, TEMP_A, X86_R11);
	emit_test(emitter, TEMP_A, RFLAGS_TF | RFLAGS_AC);
	leave_if(work, CONDITION_NE);
	work_set_rflags(work, SYSTEM_FLAGS);
	set_segment(work, X86_CS, 6, 16, 3, SEGMENT_FLAT_CODE | SEG_L);
	set_segment(work, X86_SS, 6, 8, 3, SEGMENT_FLAT_DATA);
	set_privilege(work, 3, TLB_USER);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_A, X86_RCX);
	work_jump_r11(work, TLB_USER);
}

/* Goes on with data accesses through `set`. */
static void go_on_in(struct work *work, enum tlb_set set)
{
	set_data_set(work, set);
	work_link_to_mode(work, work->next_rip, set);
	work->ended = true;
}

/* Without CR4.SMAP AC changes nothing here. */
void work_stac(struct work *work)
{
	if (work->set == TLB_SUPERVISOR_AC)
		return;
	work_save_flags(work);
	work->flags_in_host = false;
	emit_state_test(&work->emitter, offsetof(struct vcpu, cr4), CR4_SMAP);
	leave_if(work, CONDITION_E);
	emit_state_group(&work->emitter, GROUP_OR, offsetof(struct vcpu, flags_system), RFLAGS_AC);
	go_on_in(work, TLB_SUPERVISOR_AC);
}

void work_clac(struct work *work)
{
	if (work->set == TLB_SUPERVISOR_AC) {
		work_save_flags(work);
		work->flags_in_host = false;
	} else {
		work_before_clobber(work);
	}
	emit_state_group(&work->emitter, GROUP_AND, offsetof(struct vcpu, flags_system),
		(uint32_t)~RFLAGS_AC);
	if (work->set == TLB_SUPERVISOR_AC)
		go_on_in(work, TLB_SUPERVISOR);
}
