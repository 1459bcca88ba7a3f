/*
 * PUSH, POP and LEAVE of 64 bits. The host's RSP is the guest's, and moves when nothing can fault
 * any more.
 */
#include "engine/soft/translator.h"

static const struct place_in_memory below_top = { .base = X86_RSP, .disp = -8 };
static const struct place_in_memory top = { .base = X86_RSP };
static const struct place_in_memory frame = { .base = X86_RBP };

static void emit_lea_rsp(struct emitter *emitter, unsigned base, int32_t disp)
{
	emit_memory_op(emitter, OPCODE_LEA, X86_RSP,
		(struct emit_memory){ (uint8_t)base, EMIT_NO_REGISTER, disp });
}

static void push_register(struct work *work, unsigned gpr)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = work_check(work, below_top, 8, true);

	if (is_in_memory(gpr)) {
		emit_load_gpr(emitter, TEMP_A, gpr);
		gpr = TEMP_A;
	}
	emit_memory_op(emitter, OPCODE_STORE, gpr, memory);
	emit_lea_rsp(emitter, X86_RSP, -8);
}

static void push_immediate(struct work *work, uint64_t value)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = work_check(work, below_top, 8, true);

	emit_load_immediate(emitter, TEMP_A, value);
	emit_memory_op(emitter, OPCODE_STORE, TEMP_A, memory);
	emit_lea_rsp(emitter, X86_RSP, -8);
}

static void push_memory(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);
	struct emit_memory memory =
		work_check(work, (struct place_in_memory){ .insn = insn }, 8, false);

	emit_memory_op(emitter, OPCODE_LOAD, TEMP_A, memory);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	memory = work_check(work, below_top, 8, true);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, spill);
	emit_memory_op(emitter, OPCODE_STORE, TEMP_A, memory);
	emit_lea_rsp(emitter, X86_RSP, -8);
}

void work_push(struct work *work, const struct insn *insn, enum translate_kind kind)
{
	if (kind == KIND_PUSH_IMMEDIATE)
		push_immediate(work, insn->imm);
	else if (kind == KIND_PUSH_REGISTER)
		push_register(work, insn->reg);
	else if (insn->has_memory)
		push_memory(work, insn);
	else
		push_register(work, insn->rm);
}

void work_pop(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	unsigned gpr = insn->reg;
	struct emit_memory memory = work_check(work, top, 8, false);

	emit_memory_op(emitter, OPCODE_LOAD, is_in_memory(gpr) ? TEMP_A : gpr, memory);
	if (is_in_memory(gpr))
		emit_store_gpr(emitter, TEMP_A, gpr);
	if (gpr != X86_RSP)
		emit_lea_rsp(emitter, X86_RSP, 8);
}

void work_leave(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = work_check(work, frame, 8, false);

	emit_memory_op(emitter, OPCODE_LOAD, TEMP_A, memory);
	emit_lea_rsp(emitter, X86_RBP, 8);
	emit_register_op(emitter, OPCODE_LOAD, X86_RBP, TEMP_A);
}

static bool can_run(const struct work *work, unsigned n, enum translate_kind kind)
{
	const struct access *first = &work->accesses[ACCESS_STACK(work->n)];
	const struct access *access = &work->accesses[ACCESS_STACK(n)];

	return n < work->nr_insns && work->kinds[n] == kind && work->insns[n]->reg != X86_RSP &&
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
	struct emit_memory memory = work_check(work, below_top, 8, true);

	for (unsigned i = 0; i < count; i++, memory.disp -= 8) {
		unsigned gpr = work->insns[work->n + i]->reg;

		if (is_in_memory(gpr)) {
			emit_load_gpr(emitter, TEMP_A, gpr);
			gpr = TEMP_A;
		}
		emit_memory_op(emitter, OPCODE_STORE, gpr, memory);
	}
	emit_lea_rsp(emitter, X86_RSP, -8 * (int32_t)count);
}

static void pop_run(struct work *work, unsigned count)
{
	struct emitter *emitter = &work->emitter;
	struct emit_memory memory = work_check(work, top, 8, false);

	for (unsigned i = 0; i < count; i++, memory.disp += 8) {
		unsigned gpr = work->insns[work->n + i]->reg;

		emit_memory_op(emitter, OPCODE_LOAD, is_in_memory(gpr) ? TEMP_A : gpr, memory);
		if (is_in_memory(gpr))
			emit_store_gpr(emitter, TEMP_A, gpr);
	}
	emit_lea_rsp(emitter, X86_RSP, 8 * (int32_t)count);
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
