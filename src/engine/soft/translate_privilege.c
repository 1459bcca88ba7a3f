/*
 * Transitions between privileges, and between what a privilege may access: SYSCALL, SYSRET, IRET,
 * STAC and CLAC (SDM 2). Where it goes on is in another set of the TLB and so in other
 * translations.
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

static size_t segment_offset(unsigned segment)
{
	return offsetof(struct vcpu, segment) + segment * sizeof(struct cpu_segment);
}

/* A flat one whose selector is R10. */
static void set_flat(struct work *work, unsigned segment, unsigned cpl, uint32_t attributes)
{
	struct emitter *emitter = &work->emitter;
	size_t at = segment_offset(segment);

	emit_state_op(emitter, OPCODE_STORE, TEMP_B, at + offsetof(struct cpu_segment, selector));
	emit_store_state_i64(emitter, at + offsetof(struct cpu_segment, base), 0);
	emit_store_state_u32(emitter, at + offsetof(struct cpu_segment, limit), UINT32_MAX);
	emit_store_state_u32(emitter, at + offsetof(struct cpu_segment, attributes),
		attributes | (uint32_t)field_set(SEG_DPL, 0, cpl));
}

/* As set_segments makes it of the word of STAR at `star`. */
static void set_segment(struct work *work, unsigned segment, size_t star, unsigned addend,
	unsigned cpl, uint32_t attributes)
{
	struct emitter *emitter = &work->emitter;

	emit_load_state_u16(emitter, TEMP_B, offsetof(struct vcpu, star) + star);
	emit_group(emitter, GROUP_ADD, TEMP_B, addend);
	emit_group(emitter, GROUP_AND, TEMP_B, UINT16_MAX & ~SELECTOR_RPL);
	emit_group(emitter, GROUP_OR, TEMP_B, cpl);
	set_flat(work, segment, cpl, attributes);
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

/*
 * IRET from 64-bit code to user code with the selectors that Linux and Windows have for that, from
 * an exception nearly always. As iret_flat has it, to which all else is left: other selectors or
 * descriptors, flags that have consequences, data segments that would have to be dropped.
 */
#define IRET_SS       0x2b
#define IRET_CS       0x33
#define IRET_CS_PLACE (IRET_CS - IRET_SS)
#define IRET_FRAME    40 /* RIP, CS, RFLAGS, RSP, SS */
#define IRET_RARE                                                                                  \
	(RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP)

static struct emit_memory at_r10(int32_t disp)
{
	return (struct emit_memory){ TEMP_B, EMIT_NO_REGISTER, disp };
}

/* Leaves unless 8 bytes at R10 + disp are `value`; uses R11. */
static void need_u64(struct work *work, int32_t disp, uint64_t value)
{
	emit_load_immediate(&work->emitter, TEMP_A, value);
	emit_memory_op(&work->emitter, OPCODE_CMP, TEMP_A, at_r10(disp));
	leave_if(work, CONDITION_NE);
}

static void need_flat_descriptors(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	const uint64_t dpl = (uint64_t)(IRET_CS & SELECTOR_RPL) << 45;

	emit_load_state_u16(emitter, TEMP_A,
		offsetof(struct vcpu, gdtr) + offsetof(struct cpu_table_register, limit));
	emit_group(emitter, GROUP_CMP, TEMP_A, IRET_CS | 7);
	leave_if(work, CONDITION_B);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A,
		offsetof(struct vcpu, gdtr) + offsetof(struct cpu_table_register, base));
	emit_memory_op(emitter, OPCODE_LEA, TEMP_A,
		(struct emit_memory){ TEMP_A, EMIT_NO_REGISTER, IRET_SS & ~SELECTOR_RPL });
	emit_memory_op(emitter, OPCODE_LEA, TEMP_B, work_check_r11(work, IRET_CS_PLACE + 8, false));
	need_u64(work, 0, DESCRIPTOR_FLAT_STACK | dpl);
	need_u64(work, IRET_CS_PLACE, DESCRIPTOR_FLAT_CODE64 | dpl);
}

void work_iret(struct work *work)
{
	static const uint8_t null[] = { X86_ES, X86_FS, X86_GS, X86_DS };
	struct emitter *emitter = &work->emitter;
	size_t frame = offsetof(struct vcpu, translate.spill);

	work_forget_pointer(work);
	work_before_clobber(work);
	emit_state_test(emitter, offsetof(struct vcpu, nmi_blocked), UINT8_MAX);
	leave_if(work, CONDITION_NE);
	emit_state_test(emitter, offsetof(struct vcpu, flags_system), RFLAGS_NT);
	leave_if(work, CONDITION_NE);
	for (unsigned i = 0; i < ARRAY_SIZE(null); i++) {
		emit_state_test(emitter,
			segment_offset(null[i]) + offsetof(struct cpu_segment, attributes),
			SEG_UNUSABLE);
		leave_if(work, CONDITION_E);
	}
	need_flat_descriptors(work);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_A, X86_RSP);
	emit_memory_op(emitter, OPCODE_LEA, TEMP_B, work_check_r11(work, IRET_FRAME, false));
	emit_state_op(emitter, OPCODE_STORE, TEMP_B, frame);
	need_u64(work, 8, IRET_CS);
	need_u64(work, 32, IRET_SS);
	emit_memory_op(emitter, OPCODE_LOAD, TEMP_A, at_r10(0));
	work_check_canonical(work);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, frame);
	emit_memory_op(emitter, OPCODE_LOAD, TEMP_A, at_r10(16));
	emit_test(emitter, TEMP_A, IRET_RARE);
	leave_if(work, CONDITION_NE);
	work_set_rflags(work, SYSTEM_FLAGS);
	emit_load_immediate(emitter, TEMP_B, IRET_CS);
	set_flat(work, X86_CS, 3, SEGMENT_FLAT_CODE | SEG_L);
	emit_load_immediate(emitter, TEMP_B, IRET_SS);
	set_flat(work, X86_SS, 3, SEGMENT_FLAT_DATA);
	set_privilege(work, 3, TLB_USER);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, frame);
	emit_memory_op(emitter, OPCODE_LOAD, TEMP_A, at_r10(0));
	emit_memory_op(emitter, OPCODE_LOAD, X86_RSP, at_r10(24));
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
