/*
 * PUSH, POP and LEAVE. The host's RSP is the guest's, and moves when nothing can fault
 * any more.
 */
#include "engine/soft/translator.h"

/* RSP is of the mode's width: of 16 bits, what is above them stays. Uses R11 then. */
static void set_stack(struct work *work, unsigned base, int32_t disp)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = { (uint8_t)base, EMIT_NO_REGISTER, disp };

	if (work->mode->stack_bytes != 2) {
		emit_sized_op(emitter, work->mode->stack_bytes, OPCODE_LEA, X86_RSP, memory);
		return;
	}
	emit_sized_op(emitter, 4, OPCODE_LEA, TEMP_A, memory);
	emit_move_word(emitter, X86_RSP, TEMP_A);
}

void work_move_stack(struct work *work, int32_t bytes)
{
	set_stack(work, X86_RSP, bytes);
}

struct emit_memory work_check_push(struct work *work, unsigned bytes)
{
	const struct place_in_memory below_top = { .base = X86_RSP, .disp = -(int32_t)bytes };

	return work_check(work, below_top, bytes, true);
}

struct emit_memory work_check_pop(struct work *work, unsigned bytes)
{
	return work_check(work, (struct place_in_memory){ .base = X86_RSP }, bytes, false);
}

void work_store_immediate(
	struct work *work, unsigned bytes, uint64_t value, struct emit_memory memory)
{
	struct emitter *emitter = &work->emitter;

	if (bytes == 8) {
		emit_load_immediate(emitter, TEMP_A, value);
		emit_memory_op(emitter, OPCODE_STORE, TEMP_A, memory);
		return;
	}
	emit_sized_op(emitter, bytes, OPCODE_STORE_IMMEDIATE, 0, memory);
	if (bytes == 2)
		emit_u16(emitter, (uint16_t)value);
	else
		emit_u32(emitter, (uint32_t)value);
}

/* The same address without R11 in it. */
static struct emit_memory free_temporary(struct work *work, struct emit_memory memory)
{
	if (memory.base != TEMP_A)
		return memory;
	work_forget_pointer(work);
	emit_memory_op(&work->emitter, OPCODE_LEA, TEMP_B, memory);
	return (struct emit_memory){ TEMP_B, EMIT_NO_REGISTER, 0 };
}

void work_push_state(struct work *work, unsigned bytes, size_t offset)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = free_temporary(work, work_check_push(work, bytes));

	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, offset);
	emit_sized_op(emitter, bytes, OPCODE_STORE, TEMP_A, memory);
	work_move_stack(work, -(int32_t)bytes);
}

static void push_register(struct work *work, unsigned bytes, unsigned gpr)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = work_check_push(work, bytes);

	if (is_in_memory(gpr)) {
		emit_load_gpr(emitter, TEMP_A, gpr);
		gpr = TEMP_A;
	}
	emit_sized_op(emitter, bytes, OPCODE_STORE, gpr, memory);
	work_move_stack(work, -(int32_t)bytes);
}

static void push_immediate(struct work *work, unsigned bytes, uint64_t value)
{
	work_store_immediate(work, bytes, value, work_check_push(work, bytes));
	work_move_stack(work, -(int32_t)bytes);
}

static void push_memory(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);
	unsigned bytes = insn->operand_bytes;

	emit_load_sized(emitter, bytes, TEMP_A,
		work_check(work, (struct place_in_memory){ .insn = insn }, bytes, false));
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	work_push_state(work, bytes, spill);
}

void work_push(struct work *work, const struct insn *insn, enum translate_kind kind)
{
	if (kind == KIND_PUSH_IMMEDIATE)
		push_immediate(work, insn->operand_bytes, insn->imm);
	else if (kind == KIND_PUSH_REGISTER)
		push_register(work, insn->operand_bytes, insn->reg);
	else if (insn->has_memory)
		push_memory(work, insn);
	else
		push_register(work, insn->operand_bytes, insn->rm);
}

void work_pop(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	unsigned gpr = insn->reg;
	struct emit_memory memory = work_check_pop(work, insn->operand_bytes);

	emit_sized_op(emitter, insn->operand_bytes, OPCODE_LOAD, is_in_memory(gpr) ? TEMP_A : gpr,
		memory);
	if (is_in_memory(gpr))
		emit_store_gpr(emitter, TEMP_A, gpr);
	if (gpr != X86_RSP)
		work_move_stack(work, insn->operand_bytes);
}

/* RBP moves last, and its old value is where RSP comes from. */
void work_leave(struct work *work, const struct insn *insn)
{
	const struct place_in_memory frame = { .base = X86_RBP };
	struct emitter *emitter = &work->emitter;
	unsigned bytes = insn->operand_bytes, value = TEMP_A;
	struct emit_memory memory = work_check(work, frame, bytes, false);

	if (work->mode->stack_bytes == 2) {
		work_forget_pointer(work);
		value = TEMP_B;
	}
	emit_load_sized(emitter, bytes, value, memory);
	set_stack(work, X86_RBP, (int32_t)bytes);
	if (bytes == 2)
		emit_move_word(emitter, X86_RBP, value);
	else
		emit_move_sized(emitter, bytes, X86_RBP, value);
}

static bool can_run(const struct work *work, unsigned n, enum translate_kind kind)
{
	const struct access *first = &work->accesses[ACCESS_STACK(work->n)];
	const struct access *access = &work->accesses[ACCESS_STACK(n)];

	return n < work->nr_insns && work->kinds[n] == kind && work->insns[n]->reg != X86_RSP &&
	       work->insns[n]->operand_bytes == work->insns[work->n]->operand_bytes &&
	       access->group == first->group && (n == work->n || !access->leads);
}

static unsigned run_length(const struct work *work, enum translate_kind kind)
{
	unsigned count = 0;

	while (can_run(work, work->n + count, kind))
		count++;
	return count;
}

static void push_run(struct work *work, unsigned count)
{
	struct emitter *emitter = &work->emitter;
	unsigned bytes = work->insns[work->n]->operand_bytes;
	struct emit_memory memory = work_check_push(work, bytes);

	for (unsigned i = 0; i < count; i++, memory.disp -= (int32_t)bytes) {
		unsigned gpr = work->insns[work->n + i]->reg;

		if (is_in_memory(gpr)) {
			emit_load_gpr(emitter, TEMP_A, gpr);
			gpr = TEMP_A;
		}
		emit_sized_op(emitter, bytes, OPCODE_STORE, gpr, memory);
	}
	work_move_stack(work, -(int32_t)(bytes * count));
}

static void pop_run(struct work *work, unsigned count)
{
	struct emitter *emitter = &work->emitter;
	unsigned bytes = work->insns[work->n]->operand_bytes;
	struct emit_memory memory = work_check_pop(work, bytes);

	for (unsigned i = 0; i < count; i++, memory.disp += (int32_t)bytes) {
		unsigned gpr = work->insns[work->n + i]->reg;

		emit_sized_op(
			emitter, bytes, OPCODE_LOAD, is_in_memory(gpr) ? TEMP_A : gpr, memory);
		if (is_in_memory(gpr))
			emit_store_gpr(emitter, TEMP_A, gpr);
	}
	work_move_stack(work, (int32_t)(bytes * count));
}

unsigned work_run(struct work *work)
{
	enum translate_kind kind = work->kinds[work->n];
	unsigned count;

	if ((kind != KIND_PUSH_REGISTER && kind != KIND_POP_REGISTER) ||
		work->accesses[ACCESS_STACK(work->n)].group == NO_GROUP)
		return 0;
	count = run_length(work, kind);
	if (count < 2)
		return 0;
	if (kind == KIND_PUSH_REGISTER)
		push_run(work, count);
	else
		pop_run(work, count);
	return count;
}
