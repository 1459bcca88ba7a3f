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

	emit_load_immediate(&work->emitter, TEMP_B, word);
	emit_bind(emit_jump(&work->emitter), translator->writable + target);
}

static bool is_link(const struct stub *stub)
{
	return stub->kind == EXIT_LINK || stub->kind == EXIT_GROUP;
}

static void emit_link_stub(struct work *work, const struct stub *stub)
{
	struct translator *translator = work->translator;
	struct link *link = &translator->links[stub->link];
	uint8_t *at = stub->at;

	if (stub->save_first) {
		emit_save_flags(&work->emitter, TEMP_A);
		at = emit_jump(&work->emitter);
		emit_bind(at, work->emitter.at);
	}
	link->at = (uint32_t)(at - translator->writable);
	link->stub = (uint32_t)(work->emitter.at - translator->writable);
	link->flags_in_memory = stub->flags_in_memory;
	emit_exit(work, stub->kind | stub->link << EXIT_INSN_SHIFT, stub->flags_in_memory);
}

static bool same_exit(const struct stub *a, const struct stub *b)
{
	return a->kind == b->kind && a->insn == b->insn && !is_link(a) &&
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
		if (stub->kind == EXIT_JUMP)
			work_find_second(work, stub->at + 4);
		if (is_link(stub))
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

static void emit_compare_id(struct work *work, uint32_t view, uint32_t id)
{
	struct emitter *emitter = &work->emitter;

	emit_u8(emitter, 0x65); /* cmp dword gs:[code_ids], id */
	emit_u8(emitter, 0x81);
	emit_u8(emitter, 0x3c);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, translator_id_offset(view));
	emit_u32(emitter, id);
	if (view == work->translation->second_view) /* the first fixup of all */
		work_fixup(work, FIXUP_SECOND);
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
	translation->guard = offset_in_block(work);
	emit_compare_id(work, translation->view, translation->page_id);
	translation->poll = offset_in_block(work);
	emit_poll(work);
	translation->memory = offset_in_block(work);
	translation->flags_stay = translation->second_view == NONE && translate_flags_stay(work);
	translation->start = translation->memory;
	if (translation->flags_stay) {
		work->flags_in_host = false;
		return;
	}
	if (work->live[0])
		emit_restore_flags(&work->emitter, TEMP_A);
	translation->body = translation->start = offset_in_block(work);
	work->flags_in_memory = false;
	work->flags_in_host = true;
	if (translation->second_view == NONE)
		return;
	work_before_clobber(work);
	emit_compare_id(work, translation->second_view, translation->second_id);
}

/* For a link that has the flags in the host's: an entry where they are to be in memory. */
static uint16_t emit_save_before(struct work *work, uint16_t entry)
{
	uint16_t at = offset_in_block(work);

	emit_save_flags(&work->emitter, TEMP_A);
	emit_bind(emit_jump(&work->emitter),
		work->translator->writable + work->translation->code + entry);
	return at;
}

static void emit_saving_entries(struct work *work)
{
	struct translation *translation = work->translation;

	translation->poll_live = translation->poll;
	if (work->live[0])
		translation->poll_live = emit_save_before(work, translation->poll);
	if (translation->flags_stay)
		translation->body = emit_save_before(work, translation->memory);
}

static void emit_insn(struct work *work, const struct insn *insn)
{
	enum translate_kind kind = work->kinds[work->n];

	switch (kind) {
	case KIND_NOP: break;
	case KIND_PLAIN: work_plain(work, insn); break;
	case KIND_LEA: work_lea(work, insn); break;
	case KIND_STRING: work_string(work, insn); break;
	case KIND_BIT_STRING: work_bit_string(work, insn); break;
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_PUSH_OPERAND: work_push(work, insn, kind); break;
	case KIND_POP_REGISTER: work_pop(work, insn); break;
	case KIND_PUSH_SEGMENT: work_push_segment(work, insn); break;
	case KIND_MOFFS: work_moffs(work, insn); break;
	case KIND_LOOP: work_loop(work, insn); break;
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
	case KIND_IRET: work_iret(work); break;
	case KIND_CLAC: work_clac(work); break;
	case KIND_STAC: work_stac(work); break;
	case KIND_LEAVE: work_leave(work, insn); break;
	case KIND_JCC: work_jcc(work, insn); break;
	case KIND_JCC_BACK: work_jcc_back(work, insn); break;
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

	return !work->ended && !(insn_row(work->insns[last])->attributes & ISA_BRANCH);
}

static struct site *site_of(const struct work *work, unsigned n)
{
	return &work->translator->sites[work->translation->sites + n];
}

static void begin_insn(struct work *work, unsigned n)
{
	work->n = n;
	work->rip = work->at[n];
	if (n < work->nr_insns)
		work->next_rip = mode_next(work->mode, work->rip, work->insns[n]);
	*site_of(work, n) = (struct site){
		.guest = work->rip & (GUEST_PAGE_SIZE - 1),
		.host = offset_in_block(work),
		.resumable = n == work->nr_insns || !work->pointer_live[n],
	};
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

/* Does it keep R10, or say so where it does not, wherever it leaves and comes back? */
static bool keeps_pointer(enum translate_kind kind)
{
	switch (kind) {
	case KIND_PLAIN:
	case KIND_NOP:
	case KIND_LEA:
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_POP_REGISTER:
	case KIND_LEAVE:
	case KIND_JCC:
	case KIND_JCC_BACK:
	case KIND_JMP:
	case KIND_CALL:
	case KIND_RET: return true;
	default: return false;
	}
}

/* The instruction or run at `n`; returns how many these are. */
static unsigned emit_next(struct work *work, unsigned n)
{
	enum translate_kind kind = (enum translate_kind)work->kinds[n];
	bool counting = work->translator->counting;
	unsigned count;

	begin_insn(work, n);
	if (!keeps_pointer(kind))
		work_forget_pointer(work);
	if (counting)
		emit_count(work);
	count = counting ? 0 : work_run(work);
	if (count == 0) {
		emit_insn(work, work->insns[n]);
		count = 1;
	}
	if (!keeps_pointer(kind))
		work_forget_pointer(work);
	site_of(work, n)->flags_in_memory = work->flags_in_memory;
	site_of(work, n)->untranslated = kind == KIND_INTERPRET;
	return count;
}

static void emit_insns(struct work *work)
{
	unsigned n = 0;

	while (n < work->nr_insns) {
		unsigned count = emit_next(work, n);

		/* Translated code is not left within a run, nor goes on there. */
		while (--count > 0)
			begin_insn(work, ++n);
		n++;
	}
	begin_insn(work, n);
	if (!falls_through(work))
		return;
	work->n--;
	work->rip = work->at[work->n];
	work_link(work, work->at[n]);
	work->translation->nr_resumes++;
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

struct translation *translate_block(struct translator *translator, const struct block *block,
	gva_t rip, uint32_t view, uint32_t second_view, bool single)
{
	struct translation *translation = &translator->translations[translator->nr_translations++];
	struct work work;

	*translation = (struct translation){
		.rip = rip,
		.page_id = translator->views[view].id,
		.view = view,
		.second_view = second_view,
		.second_id = second_view == NONE ? 0 : translator->views[second_view].id,
		.code = translator->used,
		.single = single,
		.first_link = translator->nr_links,
		.first_fixup = translator->nr_fixups,
		.sites = translator->nr_sites,
		.decoded_epoch = translator->vcpu->blocks->times_emptied,
	};
	if (second_view != NONE) {
		translation->crossing_bytes = block->insns[0].length;
		for (unsigned i = 0; i < block->insns[0].length; i++)
			translation->crossing[i] = block->insns[0].bytes[i];
	}
	work.translator = translator;
	work.translation = translation;
	work.emitter.at = translator->writable + translator->used;
	work.physical = block->physical;
	work.page = page_bytes(translator->vcpu, block, rip);
	work.mode = &translator->modes[translator->views[view].mode];
	work.set = work.mode->set;
	work.n = 0;
	work.units_checked = 0;
	work.nr_stubs = 0;
	work.nr_detours = 0;
	work.ended = false;
	work.pointer = NO_GROUP;
	translate_path(&work, block);
	translate_groups(&work);
	translate_liveness(&work);
	translation->nr_resumes = translation->nr_insns;
	translator->nr_sites += work.nr_insns + 1;
	translation->interpret_first = work.kinds[0] == KIND_INTERPRET;
	emit_entries(&work);
	emit_insns(&work);
	emit_saving_entries(&work);
	work_detours(&work);
	emit_stubs(&work);
	translation->code_size = offset_in_block(&work);
	translation->nr_links = (uint16_t)(translator->nr_links - translation->first_link);
	translation->next_in_view = translator->views[view].translations;
	translator->views[view].translations = number(&work);
	translator->used = (uint32_t)align_up(offset(&work), 16);
	translator->written = true;
	translator->counters.translated++;
	translator->counters.instructions += work.nr_insns;
	translator_insert(translator, translation);
	trace(block_translated, rip, block->physical, work.nr_insns, translation->code_size);
	return translation;
}
