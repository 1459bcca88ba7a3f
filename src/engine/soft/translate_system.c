/*
 * System instructions that kernels execute at every turn and that stay in their privilege: flags,
 * segment bases, control registers that are read, the time.
 *
 * The interrupt flag is in vcpu->flags_system; whether translated code is left for an interrupt is
 * in poll_mask. An STI is the interpreter's if anything is pending, so that the interrupt comes
 * where the architecture has it: after the next instruction.
 */
#include "engine/soft/translator.h"

#include "engine/soft/execute.h"

static void work_cli(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	emit_state_group(
		emitter, GROUP_AND, offsetof(struct vcpu, flags_system), (uint32_t)~RFLAGS_IF);
	emit_state_group(emitter, GROUP_AND, offsetof(struct vcpu, translate.poll_mask),
		(uint32_t)~REQUEST_INTERRUPT);
}

static void work_sti(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, offsetof(struct vcpu, requests));
	emit_register_op(emitter, OPCODE_TEST, TEMP_A, TEMP_A);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	emit_state_group(
		emitter, GROUP_OR, offsetof(struct vcpu, flags_system), (uint32_t)RFLAGS_IF);
	emit_state_group(emitter, GROUP_OR, offsetof(struct vcpu, translate.poll_mask),
		(uint32_t)REQUEST_INTERRUPT);
}

static void work_swapgs(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	size_t active = offsetof(struct vcpu, segment) + X86_GS * sizeof(struct cpu_segment) +
			offsetof(struct cpu_segment, base);
	size_t other = offsetof(struct vcpu, kernel_gs_base);

	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, active);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, other);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, other);
	emit_state_op(emitter, OPCODE_STORE, TEMP_B, active);
}

/* RF and VM are clear wherever translated code runs. */
void work_rflags(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_save_flags(work);
	work_before_clobber(work);
	emit_load_state_u8(emitter, TEMP_A, offsetof(struct vcpu, flags_low));
	emit_group(emitter, GROUP_AND, TEMP_A, 0xd5);
	emit_load_state_u8(emitter, TEMP_B, offsetof(struct vcpu, flags_of));
	emit_shift(emitter, SHIFT_LEFT, TEMP_B, 11);
	emit_register_op(emitter, OPCODE_OR, TEMP_A, TEMP_B);
	emit_state_op(emitter, OPCODE_OR, TEMP_A, offsetof(struct vcpu, flags_system));
	emit_group(emitter, GROUP_OR, TEMP_A, RFLAGS_ONE);
	work->flags_in_host = false;
}

static void work_pushf(struct work *work, const struct insn *insn)
{
	size_t spill = offsetof(struct vcpu, translate.spill);

	work_rflags(work);
	emit_state_op(&work->emitter, OPCODE_STORE, TEMP_A, spill);
	work_push_state(work, insn->operand_bytes, spill);
}

void work_set_rflags(struct work *work, uint32_t system)
{
	static const uint8_t bt_r11_of[] = { 0x41, 0x0f, 0xba, 0xe3, 11 };
	struct emitter *emitter = &work->emitter;
	size_t poll_mask = offsetof(struct vcpu, translate.poll_mask);

	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_shift(emitter, SHIFT_LEFT, TEMP_B, 8);
	emit_group(emitter, GROUP_AND, TEMP_B, 0xd500);
	emit_bytes(emitter, bt_r11_of, sizeof(bt_r11_of));
	emit_group(emitter, GROUP_ADC, TEMP_B, 0);
	emit_store_state_word(emitter, TEMP_B, offsetof(struct vcpu, flags_of));
	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_shift(emitter, SHIFT_RIGHT, TEMP_B, 8);
	emit_group(emitter, GROUP_AND, TEMP_B, REQUEST_INTERRUPT);
	emit_state_group(emitter, GROUP_AND, poll_mask, (uint32_t)~REQUEST_INTERRUPT);
	emit_state_op(emitter, OPCODE_OR_STORE, TEMP_B, poll_mask);
	emit_group(emitter, GROUP_AND, TEMP_A, system);
	emit_state_group(emitter, GROUP_AND, offsetof(struct vcpu, flags_system), ~system);
	emit_state_op(emitter, OPCODE_OR_STORE, TEMP_A, offsetof(struct vcpu, flags_system));
	work->flags_in_host = false;
	work->flags_in_memory = true;
}

/* What else POPF changes at CPL 0, and what waits, is the interpreter's. */
static void work_popf(struct work *work, const struct insn *insn)
{
	unsigned bytes = insn->operand_bytes;
	const uint32_t popped = bytes == 2 ? UINT16_MAX : UINT32_MAX;
	const uint32_t changed = (RFLAGS_IF | RFLAGS_DF | RFLAGS_ID) & popped;
	const uint32_t rare = (RFLAGS_TF | RFLAGS_NT | RFLAGS_AC | RFLAGS_IOPL) & popped;
	struct emitter *emitter = &work->emitter;

	emit_load_sized(emitter, bytes, TEMP_A, work_check_pop(work, bytes));
	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_state_op(emitter, OPCODE_XOR, TEMP_B, offsetof(struct vcpu, flags_system));
	emit_test(emitter, TEMP_B, rare);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, offsetof(struct vcpu, requests));
	emit_register_op(emitter, OPCODE_TEST, TEMP_B, TEMP_B);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	work_set_rflags(work, changed);
	work_move_stack(work, (int32_t)bytes);
}

/* RDTSCP waits for what precedes it, for which LFENCE serves. */
static void work_rdtsc(struct work *work, bool with_aux)
{
	static const uint8_t lfence[] = { 0x0f, 0xae, 0xe8 };
	static const uint8_t rdtsc_shl_rdx_32[] = { 0x0f, 0x31, 0x48, 0xc1, 0xe2, 32 };
	static const uint8_t shr_rdx_32_mov_eax_eax[] = { 0x48, 0xc1, 0xea, 32, 0x89, 0xc0 };
	static const uint8_t mov_ecx[] = { 0x65, 0x8b, 0x0c, 0x25 };
	struct emitter *emitter = &work->emitter;

	work_before_clobber(work);
	if (work->set == TLB_USER) {
		emit_state_test(emitter, offsetof(struct vcpu, cr4), CR4_TSD);
		work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	}
	if (with_aux)
		emit_bytes(emitter, lfence, sizeof(lfence));
	emit_bytes(emitter, rdtsc_shl_rdx_32, sizeof(rdtsc_shl_rdx_32));
	emit_register_op(emitter, OPCODE_OR, X86_RAX, X86_RDX);
	emit_state_op(emitter, OPCODE_ADD, X86_RAX, offsetof(struct vcpu, tsc_offset));
	emit_register_op(emitter, OPCODE_LOAD, X86_RDX, X86_RAX);
	emit_bytes(emitter, shr_rdx_32_mov_eax_eax, sizeof(shr_rdx_32_mov_eax_eax));
	if (!with_aux)
		return;
	emit_bytes(emitter, mov_ecx, sizeof(mov_ecx));
	emit_u32(emitter, offsetof(struct vcpu, tsc_aux));
}

static void work_direction(struct work *work, bool down)
{
	size_t offset = offsetof(struct vcpu, flags_system);

	work_before_clobber(work);
	if (down)
		emit_state_group(&work->emitter, GROUP_OR, offset, RFLAGS_DF);
	else
		emit_state_group(&work->emitter, GROUP_AND, offset, (uint32_t)~RFLAGS_DF);
}

/* Now and then it is the interpreter's, which also yields (exec_idle.c). */
static void work_pause(struct work *work)
{
	static const uint8_t pause[] = { 0xf3, 0x90 };
	const struct soft_engine *engine = work->translator->vcpu->engine;
	struct emitter *emitter = &work->emitter;
	size_t pauses = offsetof(struct vcpu, pauses);

	if (engine->nr_vcpus > engine->host_cpus) {
		work_exit_insn(work);
		return;
	}
	emit_bytes(emitter, pause, sizeof(pause));
	if (engine->nr_vcpus == 1)
		return;
	work_before_clobber(work);
	emit_state_group(emitter, GROUP_ADD, pauses, 1);
	emit_state_test(emitter, pauses, PAUSES_TRANSLATED - 1);
	work_stub(work, emit_jcc(emitter, CONDITION_E), EXIT_INSN, 0, false);
}

/* A guest's register = R11 */
static void store_result(struct work *work, unsigned gpr)
{
	if (is_in_memory(gpr))
		emit_store_gpr(&work->emitter, TEMP_A, gpr);
	else
		emit_register_op(&work->emitter, OPCODE_LOAD, gpr, TEMP_A);
}

/* The low word of a guest's register = R11W */
static void store_word(struct work *work, unsigned gpr)
{
	struct emitter *emitter = &work->emitter;

	if (is_in_memory(gpr)) {
		emit_store_state_word(
			emitter, TEMP_A, offsetof(struct vcpu, gpr) + gpr * sizeof(uint64_t));
		return;
	}
	emit_u8(emitter, 0x66);
	emit_u8(emitter, 0x44 | (gpr & 8 ? 1 : 0));
	emit_u8(emitter, OPCODE_STORE);
	emit_u8(emitter, 0xc0 | (TEMP_A & 7) << 3 | (gpr & 7));
}

/* MOV R11D, R11D */
static void zero_extend(struct work *work)
{
	static const uint8_t mov_r11d_r11d[] = { 0x45, 0x89, 0xdb };

	emit_bytes(&work->emitter, mov_r11d_r11d, sizeof(mov_r11d_r11d));
}

static size_t segment_offset(unsigned segment)
{
	return offsetof(struct vcpu, segment) + segment * sizeof(struct cpu_segment);
}

static void work_mov_from_segment(struct work *work, const struct insn *insn)
{
	static const uint8_t mov_r11_r10w[] = { 0x66, 0x45, 0x89, 0x13 };
	struct emitter *emitter = &work->emitter;
	size_t selector = segment_offset(insn->reg & 7) + offsetof(struct cpu_segment, selector);
	struct emit_memory memory;

	if (!insn->has_memory) {
		emit_load_state_u16(emitter, TEMP_A, selector);
		if (insn->operand_bytes == 2)
			store_word(work, insn->rm);
		else
			store_result(work, insn->rm);
		return;
	}
	memory = work_check(work, (struct place_in_memory){ .insn = insn }, 2, true);
	emit_memory_op(emitter, OPCODE_LEA, TEMP_A, memory);
	emit_load_state_u16(emitter, TEMP_B, selector);
	emit_bytes(emitter, mov_r11_r10w, sizeof(mov_r11_r10w));
}

static void work_mov_from_cr(struct work *work, const struct insn *insn)
{
	static const size_t offsets[] = {
		[0] = offsetof(struct vcpu, cr0),
		[2] = offsetof(struct vcpu, cr2),
		[3] = offsetof(struct vcpu, cr3),
		[4] = offsetof(struct vcpu, cr4),
	};

	emit_state_op(&work->emitter, OPCODE_LOAD, TEMP_A, offsets[insn->reg]);
	if (insn->operand_bytes == 4)
		zero_extend(work);
	store_result(work, insn->rm);
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: ModRM.reg is 0 to 3. */
static void work_base(struct work *work, const struct insn *insn, bool write)
{
	struct emitter *emitter = &work->emitter;
	unsigned segment = insn->modrm & 8 ? X86_GS : X86_FS;
	size_t base = segment_offset(segment) + offsetof(struct cpu_segment, base);

	work_before_clobber(work);
	emit_state_test(emitter, offsetof(struct vcpu, cr4), CR4_FSGSBASE);
	work_stub(work, emit_jcc(emitter, CONDITION_E), EXIT_INSN, 0, false);
	if (!write)
		emit_state_op(emitter, OPCODE_LOAD, TEMP_A, base);
	else if (is_in_memory(insn->rm))
		emit_load_gpr(emitter, TEMP_A, insn->rm);
	else
		emit_register_op(emitter, OPCODE_LOAD, TEMP_A, insn->rm);
	if (insn->operand_bytes == 4)
		zero_extend(work);
	if (!write) {
		store_result(work, insn->rm);
		return;
	}
	work_check_canonical(work);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, base);
}

void work_system(struct work *work, const struct insn *insn, enum translate_kind kind)
{
	switch (kind) {
	case KIND_CLI: work_cli(work); break;
	case KIND_STI: work_sti(work); break;
	case KIND_SWAPGS: work_swapgs(work); break;
	case KIND_PUSHF: work_pushf(work, insn); break;
	case KIND_POPF: work_popf(work, insn); break;
	case KIND_CLD: work_direction(work, false); break;
	case KIND_STD: work_direction(work, true); break;
	case KIND_PAUSE: work_pause(work); break;
	case KIND_MOV_FROM_SEGMENT: work_mov_from_segment(work, insn); break;
	case KIND_MOV_FROM_CR: work_mov_from_cr(work, insn); break;
	case KIND_READ_BASE: work_base(work, insn, false); break;
	case KIND_WRITE_BASE: work_base(work, insn, true); break;
	case KIND_RDTSC: work_rdtsc(work, false); break;
	default: work_rdtsc(work, true);
	}
}
