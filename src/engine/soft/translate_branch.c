/*
 * How blocks end: direct branches become links, which lead to a stub until their target is known;
 * indirect ones go through the jump cache, with the target in R11 and the flags in memory.
 *
 * Within a page a link goes to its target's body, or to its poll if it leads backward. Into another
 * page it goes to the target's guard, for which the flags have to be in memory.
 */
#include "engine/soft/translator.h"

static unsigned work_mode(const struct work *work)
{
	return (unsigned)(work->mode - work->translator->modes);
}

static uint32_t new_link(struct work *work, gva_t target, unsigned mode)
{
	struct translator *translator = work->translator;

	translator->links[translator->nr_links] = (struct link){
		.from = (uint32_t)(work->translation - translator->translations),
		.target = target,
		.mode = (uint16_t)mode,
		.in_page = mode == work_mode(work) && work_in_page(work, target),
		.backward = target <= work->rip,
		.flags_in_host = work->flags_in_host,
		.view = NONE,
	};
	return translator->nr_links++;
}

void work_link_to_mode(struct work *work, gva_t target, unsigned mode)
{
	if (mode != work_mode(work) || !work_in_page(work, target))
		work_save_flags(work);
	work_stub(work, emit_jump(&work->emitter), EXIT_LINK, new_link(work, target, mode), false);
}

void work_leave_group(struct work *work, uint8_t *at)
{
	uint32_t link = new_link(work, work->rip, work_mode(work));

	work->translator->links[link].insn = (uint8_t)work->n;
	work->translator->links[link].backward = false;
	work_stub(work, at, EXIT_GROUP, link, false);
}

void work_link(struct work *work, gva_t target)
{
	work_link_to_mode(work, target, work_mode(work));
}

/* Leaves for `target` if the condition holds. */
static void leave_for(struct work *work, unsigned condition, gva_t target)
{
	bool save;
	uint8_t *at;

	work_restore_flags(work, TEMP_A);
	save = !work_in_page(work, target) && !work->flags_in_memory;
	at = emit_jcc(&work->emitter, condition);
	work_stub(work, at, EXIT_LINK, new_link(work, target, work_mode(work)), save);
}

void work_jcc(struct work *work, const struct insn *insn)
{
	leave_for(work, insn->opcode & 15, mode_target(work->mode, work->rip, insn));
	if (work->n + 1 == work->nr_insns)
		work_link(work, work->next_rip);
}

void work_jcc_back(struct work *work, const struct insn *insn)
{
	leave_for(work, (insn->opcode & 15) ^ 1, work->next_rip);
}

void work_jmp(struct work *work, const struct insn *insn)
{
	work_link(work, mode_target(work->mode, work->rip, insn));
}

static size_t jump_cache_offset(unsigned set)
{
	return offsetof(struct vcpu, translate.jump_cache) +
	       set * sizeof(((struct vcpu *)0)->translate.jump_cache[0]);
}

_Static_assert(sizeof(struct jump_cache_entry) == 16 && JUMP_CACHE_SIZE == 1u << 13,
	"an offset is twice bits 3 to 15");

/* R10 = the offset of R11's entry in the jump cache; the flags say whether it has R11. */
static void emit_find_target(struct work *work, unsigned set)
{
	static const uint8_t index[] = {
		0x45, 0x0f, 0xb7, 0xd3, /* movzx r10d, r11w */
		0x41, 0x83, 0xe2, 0xf8, /* and r10d, -8 */
		0x45, 0x01, 0xd2,       /* add r10d, r10d */
	};
	struct emitter *emitter = &work->emitter;

	work_forget_pointer(work);
	for (unsigned i = 0; i < sizeof(index); i++)
		emit_u8(emitter, index[i]);
	emit_state_index_op(emitter, OPCODE_CMP, TEMP_A, TEMP_B,
		jump_cache_offset(set) + offsetof(struct jump_cache_entry, target));
	work->flags_in_host = false;
}

static size_t found_target(unsigned set)
{
	return jump_cache_offset(set) + offsetof(struct jump_cache_entry, host);
}

static void emit_jump_found(struct work *work, unsigned set)
{
	struct emitter *emitter = &work->emitter;

	emit_u8(emitter, 0x65); /* jmp gs:[r10 + cache] */
	emit_u8(emitter, 0x41);
	emit_u8(emitter, 0xff);
	emit_u8(emitter, 0xa2);
	emit_u32(emitter, (uint32_t)found_target(set));
}

void work_jump_r11(struct work *work, unsigned set)
{
	const struct translator *translator = work->translator;

	emit_find_target(work, set);
	emit_bind(emit_jcc(&work->emitter, CONDITION_NE),
		translator->writable + translator->jump_miss);
	emit_jump_found(work, set);
}

/* R11 = as the jump cache has the target that is RIP; uses R10, changes the flags. */
static void tag_target(struct work *work)
{
	if (mode_is_wide(work->mode))
		return;
	work_forget_pointer(work);
	emit_load_immediate(&work->emitter, TEMP_B, jump_tag(work_mode(work)));
	emit_register_op(&work->emitter, OPCODE_OR, TEMP_A, TEMP_B);
}

/*
 * R11 is the target of this instruction, which has not had any effect. If it is in the jump cache,
 * it is canonical; else the interpreter finds out.
 */
static void find_target(struct work *work)
{
	tag_target(work);
	emit_find_target(work, work->set);
	work_stub(work, emit_jcc(&work->emitter, CONDITION_NE), EXIT_JUMP, 0, false);
}

/* For the stub of that: looks in the other place, and goes back to `found` with its offset. */
void work_find_second(struct work *work, const uint8_t *found)
{
	static const uint8_t hash[] = {
		0x4d, 0x89, 0xda,                         /* mov r10, r11 */
		0x49, 0xc1, 0xea, 16,                     /* shr r10, 16 */
		0x45, 0x31, 0xda,                         /* xor r10d, r11d */
		0x41, 0x81, 0xe2, 0xff, 0x0f, 0x00, 0x00, /* and r10d, 0xfff */
		0x41, 0xc1, 0xe2, 4,                      /* shl r10d, 4 */
		0x41, 0x81, 0xc2, 0x00, 0x00, 0x02, 0x00  /* add r10d, 0x20000 */
	};
	struct emitter *emitter = &work->emitter;

	_Static_assert(JUMP_CACHE_SECOND_SIZE == 0x1000 && JUMP_CACHE_SIZE * 16 == 0x20000,
		"jump_cache_second_slot");
	emit_bytes(emitter, hash, sizeof(hash));
	emit_state_index_op(emitter, OPCODE_CMP, TEMP_A, TEMP_B,
		jump_cache_offset(work->set) + offsetof(struct jump_cache_entry, target));
	emit_bind(emit_jcc(emitter, CONDITION_E), found);
}

/* R11 is the target: #GP is the interpreter's to raise, while nothing has happened yet. */
void work_check_canonical(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	work_forget_pointer(work);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_u8(emitter, 0x49); /* shl r10, 16 */
	emit_u8(emitter, 0xc1);
	emit_u8(emitter, 0xe2);
	emit_u8(emitter, 16);
	emit_u8(emitter, 0x49); /* sar r10, 16 */
	emit_u8(emitter, 0xc1);
	emit_u8(emitter, 0xfa);
	emit_u8(emitter, 16);
	emit_register_op(emitter, OPCODE_CMP, TEMP_B, TEMP_A);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	work->flags_in_host = false;
}

static void find_operand(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	unsigned bytes = insn->operand_bytes;

	work_save_flags(work);
	if (insn->has_memory)
		emit_load_sized(emitter, bytes, TEMP_A,
			work_check(work, (struct place_in_memory){ .insn = insn }, bytes, false));
	else if (is_in_memory(insn->rm))
		emit_load_gpr(emitter, TEMP_A, insn->rm);
	else
		emit_move_sized(emitter, bytes, TEMP_A, insn->rm);
	find_target(work);
}

void work_jmp_operand(struct work *work, const struct insn *insn)
{
	find_operand(work, insn);
	emit_jump_found(work, work->set);
}

/* Writes the return address, with RSP still to be moved. */
static void store_return_address(struct work *work, const struct insn *insn)
{
	unsigned bytes = insn->operand_bytes;
	struct emit_memory memory = work_check_push(work, bytes);

	if (bytes == 8) {
		work_load_address(work, TEMP_A, work->next_rip);
		emit_memory_op(&work->emitter, OPCODE_STORE, TEMP_A, memory);
	} else {
		work_store_immediate(work, bytes, mode_rip(work->mode, work->next_rip), memory);
	}
}

void work_call(struct work *work, const struct insn *insn)
{
	store_return_address(work, insn);
	work_move_stack(work, -(int32_t)insn->operand_bytes);
	work_link(work, mode_target(work->mode, work->rip, insn));
}

void work_call_operand(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);

	find_operand(work, insn);
	emit_state_index_op(emitter, OPCODE_LOAD, TEMP_A, TEMP_B, found_target(work->set));
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	store_return_address(work, insn);
	work_move_stack(work, -(int32_t)insn->operand_bytes);
	emit_u8(emitter, 0x65); /* jmp gs:[spill] */
	emit_u8(emitter, 0xff);
	emit_u8(emitter, 0x24);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, (uint32_t)spill);
}

void work_ret(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	bool has_immediate = insn_row(insn)->immediate[0] != ISA_SIZE_NONE;
	unsigned bytes = insn->operand_bytes;

	work_save_flags(work);
	emit_load_sized(emitter, bytes, TEMP_A, work_check_pop(work, bytes));
	find_target(work);
	work_move_stack(work, (int32_t)bytes + (has_immediate ? (uint16_t)insn->imm : 0));
	emit_jump_found(work, work->set);
}

/* The interpreter executes the instruction. */
void work_exit_insn(struct work *work)
{
	work_stub(work, emit_jump(&work->emitter), EXIT_INSN, 0, false);
	/* Where it goes on, the flags are in both places. */
	work->flags_in_host = work->flags_in_memory = true;
}
