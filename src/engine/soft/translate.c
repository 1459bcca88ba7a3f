/*
 * The translator's loop: enters the translation of what comes next, and answers why it was left.
 *
 * An instruction that translated code cannot finish (a TLB miss, a device, a privileged
 * instruction) is executed by the interpreter, and the block goes on behind it if it still is what
 * comes next. Nothing of C's is on a stack while translated code runs, so exceptions may jump from
 * anywhere here.
 */
#include "engine/soft/translator.h"

#include "base/trace.h"

#include "engine/soft/code_pages.h"
#include "engine/soft/direct.h"
#include "engine/soft/interpret.h"
#include "engine/soft/ticker.h"
#include "engine/soft/vector.h"
#include "engine/soft/thunk.h"

#include <errno.h>
#include <asm/prctl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/signal.h, which cannot stand beside signal.h. */
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

#define PAGE_MASK       (~UINT64_C(0xfff))
#define KILLS_AT_A_TIME 16
#define AVX_STATE       (XCR0_SSE | XCR0_AVX)

/* Requests that no instruction boundary answers while they are masked are not polled for. */
static uint64_t poll_mask(const struct vcpu *vcpu)
{
	uint64_t mask = ~UINT64_C(0);

	if (!(vcpu->flags_system & RFLAGS_IF))
		mask &= ~REQUEST_INTERRUPT;
	if (vcpu->nmi_blocked)
		mask &= ~REQUEST_NMI;
	return mask;
}

static bool is_translatable(const struct vcpu *vcpu)
{
	return translate_set(vcpu) < TRANSLATE_SETS && (vcpu->mode.cpl == 0 || vcpu->mode.cpl == 3);
}

static uint8_t units_missing(const struct vcpu *vcpu)
{
	uint8_t missing = 0;

	if (!vcpu->vector_live || vcpu->cr0 & (CR0_TS | CR0_EM))
		return UNIT_X87 | UNIT_SSE | UNIT_AVX;
	if (!(vcpu->cr4 & CR4_OSFXSR))
		missing |= UNIT_SSE;
	if (!(vcpu->cr4 & CR4_OSXSAVE) || (vcpu->xcr0 & AVX_STATE) != AVX_STATE)
		missing |= UNIT_AVX;
	return missing;
}

void translate_forget_mappings(struct vcpu *vcpu, bool keep_global)
{
	if (vcpu->translate.translator)
		translator_unmap_all(vcpu->translate.translator, keep_global);
}

unsigned translate_mapped_views(const struct vcpu *vcpu, struct mmu_space_view *views, unsigned max)
{
	const struct translator *translator = vcpu->translate.translator;

	return translator ? translator_mapped_views(translator, views, max) : 0;
}

void translate_map_views(struct vcpu *vcpu, const struct mmu_space_view *views, unsigned count)
{
	if (vcpu->translate.translator)
		translator_map_views(vcpu->translate.translator, views, count);
}

/* When the clock is to be looked at, in the guest's TSC. */
static uint64_t next_look(const struct vcpu *vcpu)
{
	uint64_t again = vcpu->direct_again_tsc;

	return again && again < vcpu->timer_deadline_tsc ? again : vcpu->timer_deadline_tsc;
}

void translate_arm_timer(struct vcpu *vcpu)
{
	struct translator *translator = vcpu->translate.translator;
	uint64_t deadline = next_look(vcpu);

	if (deadline == translator->armed_deadline)
		return;
	translator->armed_deadline = deadline;
	ticker_arm(vcpu, deadline);
}

void translate_rest_timer(struct vcpu *vcpu)
{
	struct translator *translator = vcpu->translate.translator;

	if (!translator || translator->armed_deadline == UINT64_MAX)
		return;
	translator->armed_deadline = UINT64_MAX;
	ticker_rest(vcpu);
}

void translate_forget_page(struct vcpu *vcpu, gva_t address)
{
	if (vcpu->translate.translator)
		translator_unmap(vcpu->translate.translator, address & PAGE_MASK);
}

/* What is written leaves no translation of the old bytes to be found. */
static void follow_code_log(struct translator *translator)
{
	struct soft_engine *engine = translator->vcpu->engine;
	gpa_t pages[KILLS_AT_A_TIME];
	int count;

	while (code_pages_log_end(engine) != translator->code_log_position) {
		count = code_pages_log(
			engine, &translator->code_log_position, pages, KILLS_AT_A_TIME);
		if (count < 0) {
			vector_leave(translator->vcpu);
			translator_flush(translator);
		}
		for (int i = 0; i < count; i++)
			translator_kill(translator, pages[i]);
	}
}

static void take_requests(struct vcpu *vcpu)
{
	uint64_t requests = atomic_load_explicit(&vcpu->requests, memory_order_relaxed);

	if (requests & REQUEST_CODE)
		atomic_fetch_and(&vcpu->requests, ~REQUEST_CODE);
	follow_code_log(vcpu->translate.translator);
	if (!(requests & REQUEST_TIMER))
		return;
	atomic_fetch_and(&vcpu->requests, ~REQUEST_TIMER);
	vcpu->translate.translator->armed_deadline = UINT64_MAX;
	if (vcpu->direct_again_tsc <= vcpu_tsc(vcpu))
		vcpu->direct_again_tsc = 0;
	interpret_poll_timer(vcpu);
}

/* Runs translated code from `offset` until it is left; returns the exit word. */
static uint32_t enter(struct vcpu *vcpu, uint32_t offset)
{
	struct translator *translator = vcpu->translate.translator;
	uint32_t (*routine)(void) =
		(uint32_t(*)(void))(uintptr_t)(translator->executable + translator->enter);

	if (translator->written) {
		thunk_serialise();
		translator->written = false;
	}
	translate_arm_timer(vcpu);
	vcpu->shadow_active = false;
	translator->repeats = false;
	vcpu->translate.units_missing = units_missing(vcpu);
	vcpu->translate.poll_mask = poll_mask(vcpu);
	vcpu->translate.target = (uintptr_t)(translator->executable + offset);
	translator->counters.entries++;
	return routine();
}

static const struct insn *insn_at(
	struct vcpu *vcpu, const struct translation *translation, unsigned n)
{
	if (translation->decoded_epoch != vcpu->blocks->times_emptied)
		return &block_find(vcpu, interpret_linear_rip(vcpu))->insns[0];
	return translation_insn(vcpu, translation, n);
}

/* May translated code go on at vcpu->rip, the `n`th instruction of the block? */
static bool can_resume(struct vcpu *vcpu, const struct translation *translation, unsigned n)
{
	const struct translator *translator = vcpu->translate.translator;

	return n < translation->nr_resumes &&
	       vcpu->rip == translation_rip(translator, translation, n) &&
	       !interpret_must_look(vcpu) && is_translatable(vcpu) &&
	       translate_is_mapped(vcpu, translation) &&
	       !(translation->units & units_missing(vcpu));
}

static uint32_t site_offset(struct vcpu *vcpu, const struct translation *translation, unsigned n)
{
	return translation->code + vcpu->translate.translator->sites[translation->sites + n].host;
}

/* The host address to go on at after the `n`th instruction was interpreted, or NONE. */
static uint32_t interpret_site(struct vcpu *vcpu, const struct translation *translation, unsigned n)
{
	const struct insn *insn = insn_at(vcpu, translation, n);
	gva_t rip = vcpu->rip;

	interpret_insn(vcpu, insn);
	vcpu->translate.translator->repeats =
		vcpu->rip == rip && insn_row(insn)->attributes & ISA_STRING;
	if (vcpu->translate.translator->sites[translation->sites + n].untranslated)
		vcpu->translate.translator->counters.untranslated++;
	else
		vcpu->translate.translator->counters.slow_accesses++;
	if (atomic_load_explicit(&vcpu->requests, memory_order_relaxed) &
		(REQUEST_CODE | REQUEST_TIMER))
		take_requests(vcpu);
	/* The access changed what is where. */
	if (atomic_load_explicit(&vcpu->requests, memory_order_relaxed) & REQUEST_FLUSH_TLB)
		return NONE;
	if (!vcpu->translate.translator->sites[translation->sites + n + 1].resumable)
		return NONE;
	return can_resume(vcpu, translation, n + 1) ? site_offset(vcpu, translation, n + 1) : NONE;
}

/* The block's units are not there: makes them so, or lets the interpreter find out why not. */
static uint32_t get_units(struct vcpu *vcpu, const struct translation *translation, unsigned n)
{
	vector_load(vcpu);
	if (can_resume(vcpu, translation, n))
		return site_offset(vcpu, translation, n);
	return interpret_site(vcpu, translation, n);
}

/* Puts `to` behind the link, if it is where that leads from now on. */
static void bind_link(struct vcpu *vcpu, uint32_t n, const struct translation *to)
{
	struct translator *translator = vcpu->translate.translator;
	const struct link *link = &translator->links[n];
	const struct translation *from = &translator->translations[link->from];
	uint32_t entry = to->guard;

	if (link->target != to->rip || link->mode != translator->views[to->view].mode)
		return;
	if (link->in_page) {
		if (from->page_id != to->page_id)
			return;
		if (link->backward)
			entry = link->flags_in_memory ? to->poll : to->poll_live;
		else if (!link->flags_in_host || (link->flags_in_memory && to->flags_stay))
			entry = to->memory;
		else
			entry = to->body;
	} else {
		translator_bind_incoming(translator, n, to->view);
	}
	translator_put_jump(translator, link->at, to->code + entry);
}

/* Somebody came to `left`, and it was not entered: if it is dead they go to `to` from now on. */
static void forward_dead(struct vcpu *vcpu, struct translation *left, const struct translation *to)
{
	struct translator *translator = vcpu->translate.translator;
	uint32_t at = left->code + left->guard, target = to->code + to->guard;

	if (left == to || left->rip != to->rip || !translate_is_dead(translator, left) ||
		translator->views[left->view].mode != translator->views[to->view].mode)
		return;
	/* Links within the page come to the body, where only the second page can be found dead. */
	if (left->page_id == to->page_id) {
		at = left->code + left->body;
		target = to->code + to->body;
		/* From now on it is a way to `to`, and must not be found and revived. */
		if (!left->forwarded)
			translator_remove(translator, left);
		left->forwarded = true;
	}
	translator->writable[at] = 0xe9;
	translator_put_jump(translator, at + 1, target);
}

static void bind_jump(struct vcpu *vcpu, const struct translation *to)
{
	struct translate_context *context = &vcpu->translate;
	unsigned n = context->translator->views[to->view].mode;
	const struct code_mode *mode = &context->translator->modes[n];
	uint64_t rip = mode_rip(mode, to->rip);
	const struct jump_cache_entry entry = {
		.target = jump_tag(n) | rip,
		.host = (uintptr_t)(context->translator->executable + to->code + to->guard),
	};

	context->jump_cache[mode->set][jump_cache_slot(rip)] = entry;
	context->jump_cache[mode->set][jump_cache_second_slot(rip)] = entry;
}

/* Lets the branch that was left by `word` find `to` the next time. */
static void bind(struct vcpu *vcpu, uint32_t word, const struct translation *to)
{
	struct translator *translator = vcpu->translate.translator;

	switch (field_get(EXIT_KIND, word)) {
	case EXIT_LINK: bind_link(vcpu, word >> EXIT_INSN_SHIFT, to); break;
	case EXIT_BRANCH: bind_jump(vcpu, to); break;
	case EXIT_ENTRY:
		forward_dead(vcpu, &translator->translations[word >> EXIT_BLOCK_SHIFT], to);
		bind_jump(vcpu, to);
		break;
	}
}

/* Sets vcpu->rip to where translated code was left. */
static void take_rip(struct vcpu *vcpu, uint32_t word)
{
	const struct translator *translator = vcpu->translate.translator;
	const struct translation *translation = &translator->translations[word >> EXIT_BLOCK_SHIFT];
	unsigned n = word >> EXIT_INSN_SHIFT & (BLOCK_MAX_INSNS - 1);
	const struct link *link;

	switch (field_get(EXIT_KIND, word)) {
	case EXIT_BRANCH: return;
	case EXIT_LINK:
	case EXIT_GROUP:
		link = &translator->links[word >> EXIT_INSN_SHIFT];
		vcpu->rip = mode_rip(&translator->modes[link->mode], link->target);
		return;
	default: vcpu->rip = translation_rip(translator, translation, n);
	}
}

/* The instruction that was left before had been counted. */
static void uncount(struct vcpu *vcpu, enum exit_kind kind)
{
	if (vcpu->translate.translator->counting &&
		(kind == EXIT_INSN || kind == EXIT_UNIT || kind == EXIT_GROUP || kind == EXIT_JUMP))
		vcpu->translate.executed--;
}

static const char *const exit_names[] = {
	[EXIT_INSN] = "instruction",
	[EXIT_UNIT] = "unit",
	[EXIT_ENTRY] = "entry",
	[EXIT_LINK] = "link",
	[EXIT_GROUP] = "group",
	[EXIT_JUMP] = "indirect-branch",
	[EXIT_BRANCH] = "indirect-branch",
};

/* Of one instruction that are looked up in the TLB: an operand and the stack. */
#define MAX_ACCESSES 2

/*
 * An access of the `n`th instruction was not in the TLB. Where that is all, it is now, and the
 * instruction is tried again; but not for ever, should its accesses be in each other's way. What
 * raises does so at once. False: nothing is done; else `*offset` is where to go on, or NONE.
 */
static bool fill_and_retry(struct vcpu *vcpu, const struct translation *translation, unsigned n,
	bool retried, uint32_t *offset)
{
	const struct insn *insn = insn_at(vcpu, translation, n);

	if (retried)
		return false;
	switch (translate_fill(
		vcpu, translation_mode(vcpu->translate.translator, translation), insn)) {
	case MMU_RAISES: *offset = interpret_site(vcpu, translation, n); return true;
	case MMU_FILLED:
		*offset = site_offset(vcpu, translation, n);
		return can_resume(vcpu, translation, n);
	default: return false;
	}
}

/* A group's check has failed: the host address to go on at. */
static uint32_t leave_group(struct vcpu *vcpu, uint32_t word, bool retried)
{
	struct translator *translator = vcpu->translate.translator;
	uint32_t n = word >> EXIT_INSN_SHIFT;
	const struct translation *from = &translator->translations[translator->links[n].from];
	uint64_t flushes = translator->counters.flushes;
	const struct translation *single;
	uint32_t offset;

	if (fill_and_retry(vcpu, from, translator->links[n].insn, retried, &offset))
		return offset;
	if (interpret_must_look(vcpu))
		return NONE;
	single = translate_find_slow(vcpu, true);
	if (!single)
		return NONE;
	/* Both would count the instruction. */
	if (flushes == translator->counters.flushes && !translator->counting)
		bind_link(vcpu, n, single);
	if (single->interpret_first)
		return interpret_site(vcpu, single, 0);
	return single->code + single->start;
}

/* An instruction that translated code does not finish. */
static uint32_t leave_insn(struct vcpu *vcpu, uint32_t word, bool retried)
{
	const struct translator *translator = vcpu->translate.translator;
	const struct translation *translation = &translator->translations[word >> EXIT_BLOCK_SHIFT];
	unsigned n = word >> EXIT_INSN_SHIFT & (BLOCK_MAX_INSNS - 1);
	uint32_t offset;

	if (!translator->sites[translation->sites + n + 1].resumable &&
		fill_and_retry(vcpu, translation, n, retried, &offset))
		return offset;
	return interpret_site(vcpu, translation, n);
}

/* An indirect branch whose target the jump cache does not have. */
static uint32_t leave_jump(struct vcpu *vcpu, uint32_t word)
{
	struct translator *translator = vcpu->translate.translator;
	const struct translation *translation = &translator->translations[word >> EXIT_BLOCK_SHIFT];
	unsigned n = word >> EXIT_INSN_SHIFT & (BLOCK_MAX_INSNS - 1);

	interpret_insn(vcpu, insn_at(vcpu, translation, n));
	return EXIT_BRANCH;
}

/* Runs from `offset` on until something else than the next instructions of a block is due. */
static uint32_t run(struct vcpu *vcpu, uint32_t offset)
{
	struct translator *translator = vcpu->translate.translator;
	unsigned tries = 0; /* at the instruction at tried_rip, without one elsewhere between */
	gva_t tried_rip = 0;

	for (;;) {
		uint32_t word = enter(vcpu, offset);
		enum exit_kind kind = (enum exit_kind)field_get(EXIT_KIND, word);
		unsigned n = word >> EXIT_INSN_SHIFT & (BLOCK_MAX_INSNS - 1);
		bool retried;

		vector_settle(vcpu);
		take_rip(vcpu, word);
		tries = vcpu->rip == tried_rip ? tries + 1 : 0;
		tried_rip = vcpu->rip;
		retried = tries >= MAX_ACCESSES;
		translator->counters.exits[kind]++;
		uncount(vcpu, kind);
		trace(exit, vcpu->rip, trace_text(exit_names[kind]));
		switch (kind) {
		case EXIT_INSN: offset = leave_insn(vcpu, word, retried); break;
		case EXIT_GROUP: offset = leave_group(vcpu, word, retried); break;
		case EXIT_UNIT:
			offset = get_units(
				vcpu, &translator->translations[word >> EXIT_BLOCK_SHIFT], n);
			break;
		case EXIT_JUMP: return leave_jump(vcpu, word);
		default: return word;
		}
		if (offset == NONE)
			return EXIT_INSN;
	}
}

static void translate_blocks(struct vcpu *vcpu)
{
	struct translator *translator = vcpu->translate.translator;
	uint32_t word = EXIT_INSN;
	bool stepped = false;
	uint64_t flushes;

	translator->repeats = false;
	/* A deadline that the ticker knows of comes as a request. */
	if (next_look(vcpu) != translator->armed_deadline)
		interpret_poll_timer(vcpu);
	while (!interpret_must_look(vcpu) && (!stepped || translator->repeats)) {
		struct translation *translation;
		uint32_t offset;

		stepped = vcpu->lockstep && vcpu->lockstep->one_block;
		flushes = translator->counters.flushes;
		take_requests(vcpu);
		/* An interrupt that has just come is taken before code is entered. */
		if (interpret_must_look(vcpu))
			break;
		if (vcpu->direct && direct_enter(vcpu)) {
			translator->repeats = false;
			word = EXIT_INSN;
			continue;
		}
		if (!is_translatable(vcpu)) {
			translate_arm_timer(vcpu);
			translator->repeats = interpret_block(vcpu);
			word = EXIT_INSN;
			continue;
		}
		translation = translate_find(vcpu);
		if (!translation) {
			translator->repeats = interpret_block(vcpu);
			word = EXIT_INSN;
			continue;
		}
		if (flushes == translator->counters.flushes)
			bind(vcpu, word, translation);
		offset = translation->code + translation->start;
		if (translation->interpret_first)
			offset = interpret_site(vcpu, translation, 0);
		word = offset == NONE ? EXIT_INSN : run(vcpu, offset);
	}
	if (vcpu->lockstep)
		atomic_fetch_or(&vcpu->requests, REQUEST_KICK);
	/* As the interpreter's mark_repetition. */
	if (translator->repeats)
		vcpu->flags_system |= RFLAGS_RF;
	translator->repeats = false;
	direct_sample(vcpu);
}

/* What the thread had before translated code was to run on it. */
struct thread_state {
	stack_t stack;
	sigset_t blocked;
};

/*
 * A guest may point RSP, which is the host's, anywhere: the signals of translated code have a stack
 * of their own, and others, whose handlers may not ask for it, wait.
 */
static void prepare_thread(struct vcpu *vcpu, struct thread_state *former)
{
	static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	const stack_t stack = {
		.ss_sp = vcpu->translate.translator->signal_stack,
		.ss_size = SIGNAL_STACK_BYTES,
		.ss_flags = (int)SS_AUTODISARM,
	};
	sigset_t blocked;

	sigfillset(&blocked);
	for (unsigned i = 0; i < ARRAY_SIZE(synchronous); i++)
		sigdelset(&blocked, synchronous[i]);
	pthread_sigmask(SIG_BLOCK, &blocked, &former->blocked);
	sigaltstack(&stack, &former->stack);
	syscall(SYS_arch_prctl, ARCH_SET_GS, vcpu);
	translate_signals_begin(vcpu);
}

static void restore_thread(struct thread_state *former)
{
	translate_signals_end();
	former->stack.ss_flags &= ~(int)SS_ONSTACK;
	sigaltstack(&former->stack, NULL);
	pthread_sigmask(SIG_SETMASK, &former->blocked, NULL);
}

static enum vcpu_exit_reason translate_execute(struct vcpu *vcpu)
{
	enum vcpu_exit_reason reason;
	struct thread_state former;

	if (vcpu->lockstep)
		return interpret_with(vcpu, translate_blocks);
	prepare_thread(vcpu, &former);
	reason = interpret_with(vcpu, translate_blocks);
	restore_thread(&former);
	return reason;
}

void translate_prepare_thread(struct vcpu *vcpu)
{
	struct thread_state former;

	prepare_thread(vcpu, &former);
}

int translate_try(struct vcpu *vcpu, unsigned insns)
{
	struct translator *translator = vcpu->translate.translator;
	const struct translation *translation;
	volatile int vector = -1;
	struct thread_state former;
	uint32_t offset;

	prepare_thread(vcpu, &former);
	vcpu->delivering = 0;
	translator->max_insns = insns;
	if (__builtin_setjmp(vcpu->fault_frame)) {
		vcpu->single_step = false;
		vector = vcpu->fault_vector;
	} else {
		take_requests(vcpu);
		translation = translate_find(vcpu);
		if (translation) {
			offset = translation->code + translation->start;
			if (translation->interpret_first)
				offset = interpret_site(vcpu, translation, 0);
			if (offset != NONE)
				run(vcpu, offset);
		} else {
			interpret_block(vcpu);
		}
	}
	restore_thread(&former);
	return vector;
}

int translate_create(struct soft_engine *engine, unsigned cold_runs, struct error *err)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		int ret = translator_create(&engine->vcpus[i]);

		if (ret < 0)
			return error_set_errno(err, EXIT_CODE_HOST, -ret,
				"cannot make the translator of vCPU %u", i);
		engine->vcpus[i].translate.translator->cold_runs = cold_runs;
		engine->vcpus[i].translate.translator->code_log_position =
			code_pages_log_end(engine);
	}
	return tickers_create(engine, err);
}

void translate_destroy(struct soft_engine *engine)
{
	tickers_destroy(engine);
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		translator_destroy(&engine->vcpus[i]);
}

const struct executor translate_executor = {
	.name = "translate",
	.execute = translate_execute,
};
