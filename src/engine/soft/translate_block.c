/*
 * The translation of a block of decoded instructions: entries, instructions, stubs.
 *
 * A stub says why it leaves and goes to one of the shared exits: translated code is always left
 * between instructions or before one, with the guest's registers where the exits expect them.
 */
#include "engine/soft/translator.h"

#include "base/trace.h"

static uint32_t number(const struct work *work)
{
	return (uint32_t)(work->translation - work->translator->translations);
}

static uint32_t offset(const struct work *work)
{
	return (uint32_t)(work->emitter.at - work->translator->writable);
}

static uint16_t offset_in_block(const struct work *work)
{
	return (uint16_t)(offset(work) - work->translation->code);
}

void work_stub(struct work *work, uint8_t *at, enum exit_kind kind, uint32_t link, bool save_first)
{
	work->stubs[work->nr_stubs++] = (struct stub){
		.at = at,
		.kind = (uint8_t)kind,
		.insn = (uint8_t)work->n,
		.flags_in_memory = work->flags_in_memory || save_first,
		.save_first = save_first,
		.link = link,
	};
}

static void emit_exit(struct work *work, uint32_t word, bool flags_in_memory)
{
	const struct translator *translator = work->translator;
	uint32_t target = flags_in_memory ? translator->exit_saved : translator->exit_live;

	emit_store_state_u32(&work->emitter, offsetof(struct vcpu, translate.exit), word);
	emit_bind(emit_jump(&work->emitter), translator->writable + target);
}

static void emit_link_stub(struct work *work, const struct stub *stub)
{
	struct link *link = &work->translator->links[stub->link];
	uint8_t *at = stub->at;

	if (stub->save_first) {
		emit_save_flags(&work->emitter, TEMP_A);
		at = emit_jump(&work->emitter);
		emit_bind(at, work->emitter.at);
	}
	link->at = (uint32_t)(at - work->translator->writable);
	link->flags_in_memory = stub->flags_in_memory;
	emit_exit(work, EXIT_LINK | stub->link << EXIT_INSN_SHIFT, stub->flags_in_memory);
}

static bool same_exit(const struct stub *a, const struct stub *b)
{
	return a->kind == b->kind && a->insn == b->insn && a->kind != EXIT_LINK &&
	       a->flags_in_memory == b->flags_in_memory;
}

static void emit_stubs(struct work *work)
{
	const uint8_t *at = NULL;

	for (unsigned i = 0; i < work->nr_stubs; i++) {
		const struct stub *stub = &work->stubs[i];
		uint32_t word = stub->kind | (uint32_t)stub->insn << EXIT_INSN_SHIFT |
				number(work) << EXIT_BLOCK_SHIFT;

		if (at && same_exit(stub, &work->stubs[i - 1])) {
			emit_bind(stub->at, at);
			continue;
		}
		at = work->emitter.at;
		emit_bind(stub->at, at);
		if (stub->kind == EXIT_LINK)
			emit_link_stub(work, stub);
		else
			emit_exit(work, word, stub->flags_in_memory);
	}
}

/* Jumps to the block's entry stub if the host's flags say "not equal". */
static void leave_if_not_equal(struct work *work)
{
	work_stub(work, emit_jcc(&work->emitter, CONDITION_NE), EXIT_ENTRY, 0, false);
}

static void emit_compare_target(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	gva_t rip = work->translation->rip;
	uint8_t *miss;

	if (fits_i32(rip)) {
		emit_u8(emitter, 0x49); /* cmp r11, rip */
		emit_u8(emitter, 0x81);
		emit_u8(emitter, 0xfb);
		emit_u32(emitter, (uint32_t)rip);
	} else {
		emit_load_immediate(emitter, TEMP_B, rip);
		emit_register_op(emitter, OPCODE_CMP, TEMP_A, TEMP_B);
	}
	miss = emit_jcc(emitter, CONDITION_NE);
	emit_bind(miss, work->translator->writable + work->translator->jump_miss);
}

static void emit_compare_id(struct work *work, uint32_t view, uint32_t id)
{
	struct emitter *emitter = &work->emitter;

	emit_u8(emitter, 0x65); /* cmp dword gs:[code_ids], id */
	emit_u8(emitter, 0x81);
	emit_u8(emitter, 0x3c);
	emit_u8(emitter, 0x25);
	emit_u32(emitter,
		(uint32_t)(offsetof(struct vcpu, translate.code_ids) + view * sizeof(uint32_t)));
	emit_u32(emitter, id);
	leave_if_not_equal(work);
}

static void emit_poll(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, offsetof(struct vcpu, requests));
	emit_state_op(emitter, OPCODE_TEST, TEMP_A, offsetof(struct vcpu, translate.poll_mask));
	leave_if_not_equal(work);
}

static void emit_entries(struct work *work)
{
	struct translation *translation = work->translation;

	work->flags_in_memory = true;
	emit_compare_target(work);
	translation->guard = offset_in_block(work);
	emit_compare_id(work, translation->view, translation->page_id);
	translation->poll = offset_in_block(work);
	emit_poll(work);
	translation->memory = offset_in_block(work);
	if (work->live[0])
		emit_restore_flags(&work->emitter, TEMP_A);
	translation->body = offset_in_block(work);
	work->flags_in_memory = false;
	work->flags_in_host = true;
	if (translation->second_view == NONE)
		return;
	work_before_clobber(work);
	emit_compare_id(work, translation->second_view, translation->second_id);
}

/* For links within the page that have the flags in the host's. */
static void emit_poll_live(struct work *work)
{
	struct translation *translation = work->translation;

	if (!work->live[0]) {
		translation->poll_live = translation->poll;
		return;
	}
	translation->poll_live = offset_in_block(work);
	emit_save_flags(&work->emitter, TEMP_A);
	emit_bind(emit_jump(&work->emitter),
		work->translator->writable + translation->code + translation->poll);
}

static void emit_insn(struct work *work, const struct insn *insn)
{
	enum translate_kind kind = work->kinds[work->n];

	switch (kind) {
	case KIND_NOP: break;
	case KIND_PLAIN: work_plain(work, insn); break;
	case KIND_LEA: work_lea(work, insn); break;
	case KIND_BIT_STRING: work_bit_string(work, insn); break;
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_PUSH_OPERAND: work_push(work, insn, kind); break;
	case KIND_POP_REGISTER: work_pop(work, insn); break;
	case KIND_CLI:
	case KIND_STI:
	case KIND_SWAPGS:
	case KIND_PUSHF:
	case KIND_RDTSC:
	case KIND_RDTSCP:
	case KIND_CLD:
	case KIND_STD:
	case KIND_PAUSE:
	case KIND_MOV_FROM_SEGMENT:
	case KIND_MOV_FROM_CR:
	case KIND_READ_BASE:
	case KIND_WRITE_BASE:
	case KIND_POPF: work_system(work, insn, kind); break;
	case KIND_SYSCALL: work_syscall(work); break;
	case KIND_SYSRET: work_sysret(work); break;
	case KIND_CLAC: work_clac(work); break;
	case KIND_STAC: work_stac(work); break;
	case KIND_LEAVE: work_leave(work); break;
	case KIND_JCC: work_jcc(work, insn); break;
	case KIND_JMP: work_jmp(work, insn); break;
	case KIND_JMP_OPERAND: work_jmp_operand(work, insn); break;
	case KIND_CALL: work_call(work, insn); break;
	case KIND_CALL_OPERAND: work_call_operand(work, insn); break;
	case KIND_RET: work_ret(work, insn); break;
	case KIND_INTERPRET: work_exit_insn(work); break;
	}
}

static bool falls_through(const struct work *work)
{
	unsigned last = work->nr_insns - 1;

	return !work->ended && !(insn_row(&work->block->insns[last])->attributes & ISA_BRANCH);
}

static void note_site(struct work *work)
{
	work->translator->sites[work->translation->sites + work->n] = (struct site){
		.guest = (uint16_t)(work->rip - work->translation->rip),
		.host = offset_in_block(work),
	};
}

static void next_insn(struct work *work)
{
	work->rip += work->block->insns[work->n].length;
	work->n++;
}

/* Without touching the flags. Exits before the instruction take it back: translate.c. */
static void emit_count(struct work *work)
{
	struct emitter *emitter = &work->emitter;
	size_t executed = offsetof(struct vcpu, translate.executed);

	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, executed);
	emit_memory_op(
		emitter, OPCODE_LEA, TEMP_A, (struct emit_memory){ TEMP_A, EMIT_NO_REGISTER, 1 });
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, executed);
}

/* The instruction or run at work->n. */
static void emit_next(struct work *work)
{
	const struct insn *insn = &work->block->insns[work->n];
	struct site *site = &work->translator->sites[work->translation->sites + work->n];
	unsigned count;

	note_site(work);
	work->next_rip = work->rip + insn->length;
	if (work->translator->counting)
		emit_count(work);
	count = work->translator->counting ? 0 : work_run(work);
	if (count < 2) {
		emit_insn(work, insn);
		count = 1;
	}
	site->flags_in_memory = work->flags_in_memory;
	site->untranslated = work->kinds[work->n] == KIND_INTERPRET;
	while (count-- > 0)
		next_insn(work);
}

static void emit_insns(struct work *work)
{
	work->rip = work->translation->rip;
	while (work->n < work->nr_insns)
		emit_next(work);
	note_site(work);
	if (falls_through(work)) {
		gva_t end = work->rip;

		work->n--;
		work->rip -= work->block->insns[work->n].length;
		work_link(work, end);
		work->translation->nr_resumes++;
	}
}

static gva_t address_of(const struct work *work, unsigned n)
{
	gva_t address = work->translation->rip;

	for (unsigned i = 0; i < n; i++)
		address += work->block->insns[i].length;
	return address;
}

/* The instructions of a run behind its first, each with its own check. */
static void emit_run_singly(struct work *work, const struct run *run)
{
	work->flags_in_host = work->flags_in_memory = true;
	work->n = run->first + 1u;
	work->rip = address_of(work, work->n);
	while (work->n < (unsigned)run->first + run->count) {
		const struct insn *insn = &work->block->insns[work->n];

		note_site(work);
		work->next_rip = work->rip + insn->length;
		emit_insn(work, insn);
		next_insn(work);
	}
	if (run->after)
		emit_bind(emit_jump(&work->emitter), run->after);
}

/* The bytes of the block's page: code that a look ahead may read. */
static const uint8_t *page_bytes(const struct vcpu *vcpu, const struct block *block, gva_t rip)
{
	const struct tlb_entry *entry = &vcpu->tlb_code[tlb_index(rip)];
	gva_t page = align_down(rip, GUEST_PAGE_SIZE);

	if (block->crosses || entry->exec_tag != page)
		return NULL;
	return (const uint8_t *)(uintptr_t)(page + entry->addend);
}

/* The host's time is not that of a vCPU in lockstep. */
static enum translate_kind kind_of(const struct vcpu *vcpu, const struct insn *insn, unsigned set)
{
	enum translate_kind kind = translate_kind(insn, set);

	if (vcpu->lockstep && (kind == KIND_RDTSC || kind == KIND_RDTSCP))
		return KIND_INTERPRET;
	return kind;
}

struct translation *translate_block(struct translator *translator, const struct block *block,
	gva_t rip, uint32_t view, uint32_t second_view)
{
	struct translation *translation = &translator->translations[translator->nr_translations++];
	unsigned nr_insns =
		block->nr_insns < translator->max_insns ? block->nr_insns : translator->max_insns;
	struct work work;

	*translation = (struct translation){
		.rip = rip,
		.page_id = translator->views[view].id,
		.view = view,
		.second_view = second_view,
		.second_id = second_view == NONE ? 0 : translator->views[second_view].id,
		.code = translator->used,
		.nr_insns = (uint8_t)nr_insns,
		.nr_resumes = (uint8_t)nr_insns,
		.sites = translator->nr_sites,
		.block = block,
		.decoded_epoch = translator->vcpu->blocks->times_emptied,
	};
	translator->nr_sites += nr_insns + 1;
	work.translator = translator;
	work.translation = translation;
	work.emitter.at = translator->writable + translator->used;
	work.block = block;
	work.page = page_bytes(translator->vcpu, block, rip);
	work.set = translator->views[view].set;
	work.n = 0;
	work.nr_insns = nr_insns;
	work.units_checked = 0;
	work.nr_stubs = 0;
	work.nr_runs = 0;
	work.ended = false;
	for (unsigned n = 0; n < nr_insns; n++)
		work.kinds[n] = (uint8_t)kind_of(translator->vcpu, &block->insns[n], work.set);
	translation->interpret_first = work.kinds[0] == KIND_INTERPRET;
	translate_liveness(&work, address_of(&work, nr_insns));
	emit_entries(&work);
	emit_insns(&work);
	for (unsigned i = 0; i < work.nr_runs; i++)
		emit_run_singly(&work, &work.runs[i]);
	emit_poll_live(&work);
	emit_stubs(&work);
	translation->code_size = offset_in_block(&work);
	translator->used = (uint32_t)align_up(offset(&work), 16);
	translator->written = true;
	translator->counters.translated++;
	translator->counters.instructions += nr_insns;
	translator_insert(translator, translation);
	trace(block_translated, rip, block->physical, nr_insns, translation->code_size);
	return translation;
}
