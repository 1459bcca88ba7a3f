/*
 * Inside the translator: what it keeps for a vCPU, and the translation of one block.
 */
#ifndef ENGINE_SOFT_TRANSLATOR_H
#define ENGINE_SOFT_TRANSLATOR_H

#include "engine/soft/block.h"
#include "engine/soft/emit.h"
#include "engine/soft/populate.h"
#include "engine/soft/translate.h"

/* Code of a vCPU: its part of what may be a quarter of the guest's memory, within these bounds. */
#define MIN_CODE_BYTES          (32u << 20)
#define MAX_CODE_BYTES          (128u << 20)
#define MAX_TRANSLATIONS        (1u << 19)
#define MAX_SITES               (1u << 22)
#define TRANSLATION_BUCKET_BITS 18
#define CODE_PAGE_BUCKET_BITS   12
#define SIGNAL_STACK_BYTES      (64u << 10)
#define NONE                    UINT32_MAX
#define MAX_ID                  (UINT32_MAX / 2) /* of a view; far from it they start over */

/* The most that one block can come to, with its entries and stubs. */
#define MAX_BLOCK_CODE (48u << 10)

/*
 * translate_context.exit: the kind in the low three bits, then (stubs have it in R10)
 * EXIT_INSN, EXIT_UNIT   the instruction's number in its block (6 bits), the translation
 * EXIT_ENTRY             likewise, number 0: the translation was not entered
 * EXIT_LINK              the link
 * EXIT_GROUP             likewise: a group's check failed
 * EXIT_JUMP              as EXIT_INSN: the jump cache does not have the target
 * EXIT_BRANCH            nothing: vcpu->rip is set
 */
enum exit_kind { EXIT_INSN, EXIT_UNIT, EXIT_ENTRY, EXIT_LINK, EXIT_GROUP, EXIT_JUMP, EXIT_BRANCH };
#define EXIT_KIND        BITS(2, 0)
#define EXIT_INSN_SHIFT  3
#define EXIT_BLOCK_SHIFT 9

/* Where an instruction of a translated block is, in the guest and in the host. */
struct site {
	uint16_t guest;       /* offset in its page */
	uint16_t host;        /* from its code */
	bool flags_in_memory; /* when its own access runs, vcpu->flags_* are the guest's */
	bool untranslated;    /* it is always the interpreter's */
	bool resumable;       /* needs no pointer that was found before */
};

/* A page of guest code as seen through one linear address. */
struct code_page_view {
	gva_t linear;
	gpa_t physical;
	uint32_t id; /* 0: dead */
	uint32_t next_linear, next_physical;
	uint32_t translations; /* the first of its living ones */
	uint32_t incoming;     /* the first link of other pages that leads here */
	uint64_t mapped_at;    /* host's TSC */
	uint16_t mode;
	bool fixed;     /* some translation cannot be moved */
	bool global;    /* as the TLB's entry was when the page was found mapped last */
	bool logged[2]; /* among the mapped local views, among the global ones */
};

/* What an access by a segment has to look at, in code that is not 64-bit. */
enum segment_kind {
	SEGMENT_FLAT,        /* nothing: base 0, no limit */
	SEGMENT_BASED,       /* no limit */
	SEGMENT_LIMITED,     /* base and limit */
	SEGMENT_INTERPRETED, /* whatever else: what expands down, cannot be read, is null */
};
#define SEGMENT_KIND       BITS(1, 0)
#define SEGMENT_READ_ONLY  BIT(2)
#define TRANSLATE_SEGMENTS (X86_GS + 1)

/* What a translation is made for: translate_mode.c. */
struct code_mode {
	uint32_t cs_base, cs_limit;
	uint8_t set;         /* of the TLB */
	uint8_t insn;        /* enum insn_mode */
	uint8_t stack_bytes; /* how much of RSP is used */
	bool protected_mode; /* segments have types: neither real nor virtual-8086 mode */
	bool virtual_8086;
	uint8_t segments[TRANSLATE_SEGMENTS]; /* enum segment_kind and SEGMENT_READ_ONLY */
	uint16_t next;
};

#define MAX_MODES    1024
#define MODE_BUCKETS 256
#define NO_MODE      0xfffe

static inline bool mode_is_wide(const struct code_mode *mode)
{
	return mode->insn == INSN_MODE_64;
}

/* The largest operand that addresses are made of. */
static inline unsigned mode_word(const struct code_mode *mode)
{
	return mode_is_wide(mode) ? 8 : 4;
}

/* Between RIP and linear addresses, which all addresses of translations are. */
static inline gva_t mode_linear(const struct code_mode *mode, uint64_t rip)
{
	return mode_is_wide(mode) ? rip : (uint32_t)(mode->cs_base + rip);
}

static inline uint64_t mode_rip(const struct code_mode *mode, gva_t linear)
{
	return mode_is_wide(mode) ? linear : (uint32_t)(linear - mode->cs_base);
}

/* Up to so many decoded blocks make a translation: translate_path.c. */
#define MAX_PARTS 6

struct translation_part {
	uint32_t block; /* its place among the decoded blocks' memory */
	uint8_t first;  /* number of its first instruction */
};

/*
 * A translated block. Its code has these entries, in this order, each falling into the next:
 * guard     from another page or an indirect branch: is the block's page still mapped where the
 *           block expects it?
 * poll      does anybody want the vCPU's attention?
 * memory    the guest's flags are in memory
 * body      they are in the host's
 * and out of line poll_live: flags in the host's, then poll. If what comes first would have to put
 * the flags into memory, they stay there (flags_stay), and body is out of line, too. C enters at
 * start: it has them in both places.
 */
struct translation {
	/* What is needed to find it, to enter it and to leave it lies in one line of the cache. */
	_Alignas(64) gva_t rip;
	uint32_t page_id;
	uint32_t view;
	uint32_t next;
	uint32_t code; /* offset in the code cache */
	uint32_t sites;
	/* An instruction that crosses a page's end is a block of its own, and checks the second
	 * page's ID each time; else NONE. */
	uint32_t second_view, second_id;
	uint32_t decoded_epoch;
	uint16_t guard, poll, memory, body, poll_live, start;
	uint8_t nr_insns;
	uint8_t nr_resumes; /* execution can go on before the first of so many, the end included */
	uint8_t units;
	bool interpret_first; /* the first instruction is not translated */
	bool single;          /* every access has a check of its own */
	bool flags_stay;
	bool forwarded; /* it leads to another, and is not among those to be found */
	uint8_t nr_parts;

	struct translation_part parts[MAX_PARTS]; /* valid if decoded_epoch is the block cache's */
	uint32_t next_in_view;
	uint32_t first_link, first_fixup;
	uint16_t nr_links, nr_fixups;
	uint16_t code_size;
	uint8_t crossing[INSN_MAX_LENGTH], crossing_bytes;
};

_Static_assert(offsetof(struct translation, parts) <= 64, "what is needed often is in one line");

/* While the block cache is as it was. */
static inline const struct block *translation_block(
	const struct vcpu *vcpu, const struct translation *translation, unsigned part)
{
	return (const struct block *)(vcpu->blocks->arena + translation->parts[part].block);
}

/* The `n`th instruction; likewise. */
static inline const struct insn *translation_insn(
	const struct vcpu *vcpu, const struct translation *translation, unsigned n)
{
	unsigned part = translation->nr_parts;

	while (translation->parts[--part].first > n)
		;
	return &translation_block(vcpu, translation, part)
			->insns[n - translation->parts[part].first];
}

/* A direct branch that another block's code may be put behind. */
struct link {
	uint32_t at;   /* of the rel32 in the code cache */
	uint32_t stub; /* where it leads while it is not bound */
	uint32_t from;
	uint32_t view; /* that it is bound to a guard of, or NONE; then it is among its incoming: */
	uint32_t next_incoming, previous_incoming;
	gva_t target;
	uint16_t mode; /* of the target */
	bool in_page, backward, flags_in_host, flags_in_memory;
	uint8_t insn; /* of EXIT_GROUP */
};

/* A place in the code that depends on where its page is in linear memory: translate_move.c. */
enum fixup_kind {
	FIXUP_ADDRESS, /* 64 bits: an address of the same region */
	FIXUP_TLB,     /* disp32 of an entry of the TLB, found by such an address */
	FIXUP_SECOND,  /* the second page's ID */
};

struct fixup {
	uint32_t at : 30, kind : 2; /* offset in the code cache */
};

#define MAX_FIXUPS       (1u << 20)
#define FIXUPS_OF_A_INSN 8 /* at most */

/* Where its page's ID is in a guard. */
#define GUARD_ID 8

struct lookup {
	gva_t rip;
	struct translation *translation;
};

#define LOOKUP_BITS 12

/* How often what begins somewhere was interpreted because it was cold: by a hash of its physical
 * address. Two that share a place warm each other. */
#define HEAT_BITS 16

struct translator_counters {
	uint64_t translated, instructions, entries, flushes, killed, moved;
	uint64_t exits[EXIT_BRANCH + 1];
	uint64_t faults, slow_accesses, untranslated, translation_ticks;
};

struct translator {
	struct vcpu *vcpu;
	uint8_t *writable;
	const uint8_t *executable;
	uint32_t code_bytes, used, reserved;
	bool counting; /* each instruction, in translate_context.executed */
	bool written;  /* since the last serialisation */
	bool repeats;  /* a string instruction was executed last, and goes on */
	/* Offsets of the routines every block shares. */
	uint32_t enter, exit_live, exit_saved, exit_stored, jump_miss;
	struct translation *translations;
	uint32_t nr_translations;
	struct site *sites;
	uint32_t nr_sites;
	struct link *links;
	uint32_t nr_links;
	struct fixup *fixups;
	uint32_t nr_fixups;
	struct code_page_view *views;
	uint32_t nr_views;
	/* Views that were found mapped since the last flush of the TLB: local, global. */
	uint32_t *mapped_views[2];
	uint32_t nr_mapped_views[2];
	struct code_mode modes[MAX_MODES];
	unsigned nr_modes;
	uint16_t mode_buckets[MODE_BUCKETS];
	uint32_t next_id;
	uint32_t *buckets;
	uint32_t *views_by_linear, *views_by_physical;
	struct lookup lookup[1u << LOOKUP_BITS];
	/* Of the code by both mappings, translations, sites, links. */
	struct populate_ahead ahead[5];
	uint64_t code_log_position;
	uint64_t armed_deadline;
	uint8_t *signal_stack;
	unsigned max_insns; /* of a block: fewer for tests */
	unsigned cold_runs; /* so often code is interpreted before it is translated */
	uint8_t heat[1u << HEAT_BITS];
	bool exact_flags; /* all of them, wherever a block ends: for lockstep */
	struct translator_counters counters;
};

#define MAX_LINKS (4 * MAX_TRANSLATIONS)

/* How an instruction is translated. */
enum translate_kind {
	KIND_INTERPRET,
	KIND_PLAIN, /* the same instruction */
	KIND_NOP,
	KIND_LEA,
	KIND_BIT_STRING,
	KIND_STRING,
	/* Of supervisors only: */
	KIND_CLI,
	KIND_STI,
	KIND_SWAPGS,
	KIND_CLAC,
	KIND_STAC,
	KIND_MOV_FROM_CR,
	KIND_SYSRET,
	KIND_IRET,
	/* Of anybody: */
	KIND_SYSCALL,
	KIND_CLD,
	KIND_STD,
	KIND_PAUSE,
	KIND_MOV_FROM_SEGMENT,
	KIND_READ_BASE,
	KIND_WRITE_BASE,
	KIND_RDTSC,
	KIND_RDTSCP,
	KIND_MOFFS,
	/* With operands of the size of the stack's: */
	KIND_PUSHF,
	KIND_POPF,
	KIND_PUSH_REGISTER,
	KIND_PUSH_IMMEDIATE,
	KIND_PUSH_OPERAND,
	KIND_PUSH_SEGMENT,
	KIND_POP_REGISTER,
	KIND_LEAVE,
	KIND_JCC,
	KIND_JCC_BACK, /* in a path: taken, back to the translation's start */
	KIND_JMP,
	KIND_JMP_OPERAND,
	KIND_CALL,
	KIND_CALL_OPERAND,
	KIND_RET,
	KIND_LOOP, /* and JCXZ: legacy code only */
};

/* Before the first of these. */
void translate_kinds_init(void);

enum translate_kind translate_kind(const struct insn *insn, const struct code_mode *mode);
uint8_t translate_units(const struct insn *insn);

/* Guest registers R10 and R11 are in memory; their host twins are the temporaries. */
#define TEMP_A         X86_R11
#define TEMP_B         X86_R10
#define NR_TEMPORARIES 2

static inline bool is_in_memory(unsigned gpr)
{
	return gpr == X86_R10 || gpr == X86_R11;
}

/* What an instruction reaches at one address: translate_group.c. */
struct access {
	int32_t from, to; /* of its root */
	uint8_t next;     /* access of the same root */
	uint8_t group;
	bool write, leads;
	bool beside; /* it will not be in the window the first time */
};

/* An instruction's ModRM operand, and what it pushes or pops. */
#define ACCESS_OPERAND(n) (2 * (n))
#define ACCESS_STACK(n)   (2 * (n) + 1)
#define ACCESS_INSN(n)    ((n) / 2)
#define NO_ACCESS         0xff
#define NO_GROUP          0xff

/* Accesses in one page, as the first of them has found: its pointer is that of `from`. */
struct group {
	int32_t from, to;
	uint8_t slot; /* in translate_context.pointers */
	bool write;
};

/* What a check covers: bytes around the access. */
struct work_span {
	int32_t before; /* from the access's first byte, 0 or less */
	int32_t size;
	bool write;
	const struct group *group; /* that it leads, or NULL */
};

/* A translation in the making. */
struct work {
	struct translator *translator;
	struct translation *translation;
	struct emitter emitter;
	gpa_t physical;      /* of the first instruction */
	const uint8_t *page; /* its page's bytes, or NULL: not to be looked at */
	const struct code_mode *mode;
	unsigned set; /* the mode's */
	const struct insn *insns[BLOCK_MAX_INSNS];
	gva_t at[BLOCK_MAX_INSNS + 1]; /* their addresses, and where the last one goes on */
	uint8_t kinds[BLOCK_MAX_INSNS];
	unsigned nr_insns;
	unsigned n;          /* the instruction being translated */
	gva_t rip, next_rip; /* its addresses */
	bool flags_in_host, flags_in_memory;
	bool ended; /* the last instruction has a successor of its own */
	uint8_t units_checked;
	uint8_t pointer;                    /* the group whose pointer R10 is, or NO_GROUP */
	uint16_t live[BLOCK_MAX_INSNS + 1]; /* flags that matter before each instruction */
	struct access accesses[2 * BLOCK_MAX_INSNS];
	struct group groups[BLOCK_MAX_INSNS];
	unsigned nr_groups;
	bool pointer_live[BLOCK_MAX_INSNS]; /* some group has begun and goes on */
	/* Jumps to be bound to stubs behind the block. */
	struct stub {
		uint8_t *at; /* the rel32 */
		uint8_t kind;
		uint8_t insn;
		bool flags_in_memory;
		bool save_first;
		uint32_t link;
	} stubs[BLOCK_MAX_INSNS * 6 + 8];
	unsigned nr_stubs;
	/* Checks of what is not in the window, behind the block. */
	struct detour {
		uint8_t *at;         /* the rel32 */
		const uint8_t *back; /* where it goes on, R10 the host address of the span */
		struct work_span span;
		uint8_t insn;
		bool flags_in_host, flags_in_memory;
	} detours[BLOCK_MAX_INSNS];
	unsigned nr_detours;
};

/* Where an instruction's memory operand is, to make its host address from. */
struct place_in_memory {
	const struct insn *insn; /* its ModRM operand, or NULL: */
	uint8_t base;            /* [base + disp] */
	int32_t disp;
};

/* translate_mode.c */
void translate_modes_reset(struct translator *translator);
/* The vCPU's mode, NO_MODE if it has no number; translate_mode gives it one while there are any. */
unsigned translate_mode_now(struct vcpu *vcpu);
unsigned translate_mode(struct vcpu *vcpu);

/* The TLB's set for data. */
static inline unsigned translate_set(const struct vcpu *vcpu)
{
	return (unsigned)((vcpu->tlb_data - &vcpu->tlb.entries[0][0]) / TLB_ENTRIES);
}

/* Where the instruction at `at` goes on, if it does not branch; where a direct branch leads. */
static inline gva_t mode_next(const struct code_mode *mode, gva_t at, const struct insn *insn)
{
	return mode_is_wide(mode) ? at + insn->length : (uint32_t)(at + insn->length);
}

static inline gva_t mode_target(const struct code_mode *mode, gva_t at, const struct insn *insn)
{
	uint64_t rip = mode_rip(mode, at) + insn->length + insn->imm;

	return mode_linear(mode, rip & byte_mask(insn->operand_bytes));
}

/* Do `size` bytes of code at `linear` reach beyond CS's limit? */
static inline bool mode_exceeds(const struct code_mode *mode, gva_t linear, unsigned size)
{
	return !mode_is_wide(mode) && mode_rip(mode, linear) + size - 1 > mode->cs_limit;
}

static inline bool translate_is_direct_branch(enum translate_kind kind)
{
	return kind == KIND_JCC || kind == KIND_JMP || kind == KIND_CALL || kind == KIND_LOOP;
}

/* translate_path.c: insns, at, kinds, and the translation's parts, from `block` on */
void translate_path(struct work *work, const struct block *block);

/* translate_group.c */
void translate_groups(struct work *work);
/* General registers that an instruction of KIND_PLAIN writes. */
uint32_t translate_gprs_written(const struct insn *insn);

/* translate_flags.c */
void translate_liveness(struct work *work);
/* Do flags that are in memory where the block begins best stay there? */
bool translate_flags_stay(const struct work *work);
void work_before_clobber(struct work *work);
void work_save_flags(struct work *work);
void work_restore_flags(struct work *work, unsigned temporary);
void work_flags_written(struct work *work);

/*
 * translate_memory.c: the host's address of an access, checked if no group's check covers it.
 * Leaves through a stub unless direct. The address may have R10 and R11 in it.
 */
struct emit_memory work_check(
	struct work *work, struct place_in_memory place, unsigned size, bool write);

/* A check has set the flags: translated code is left if the condition holds. */
void work_leave_check(struct work *work, const struct work_span *span, unsigned condition);
/* R10D holds the span's address, R11 that of its last byte: R10 = addend, or out. */
void work_span_lookup(struct work *work, const struct work_span *span);
/* R10 is the host address of the span's first byte: keeps it for the rest of the group. */
struct emit_memory work_keep_pointer(struct work *work, const struct work_span *span);
struct emit_memory work_check_constant(
	struct work *work, gva_t address, const struct work_span *span);
/* The code of the detours. */
void work_detours(struct work *work);
/* LEA of 32 or 64 bits from base + index * 2^scale + disp. */
void work_emit_lea(struct emitter *emitter, bool wide, unsigned to, unsigned base, unsigned index,
	unsigned scale, int32_t disp);
/* R10D holds the address, R11 that of the access's last byte: R10 = addend, or out. */
void work_lookup(struct work *work, bool write);
/* Of the address in R11; after work_before_clobber. */
struct emit_memory work_check_r11(struct work *work, unsigned size, bool write);
/* R11 = the linear address of the instruction's memory operand; may use R10. */
void work_linear(struct work *work, const struct insn *insn);
/* Is the address the same each time? Then it is translate_constant. */
bool translate_is_constant(const struct insn *insn);
gva_t translate_constant(const struct insn *insn, gva_t next_rip);

/* translate_segment.c: 16 and 32-bit code. As work_check, of a span. */
struct emit_memory work_check_logical(
	struct work *work, struct place_in_memory place, const struct work_span *span);
struct emit_memory work_check_moffs(struct work *work, const struct insn *insn, bool write);
/* R11 = the offset of the instruction's memory operand; no other change. */
void work_offset(struct work *work, const struct insn *insn);
/* Of the offset in R11; after work_before_clobber. */
struct emit_memory work_check_offset_r11(
	struct work *work, unsigned segment, unsigned size, bool write);
/*
 * Of `size` bytes at `index`, or 0: of ECX << `shift` of them, which are no more than a page.
 * R10 = what makes a host address of the index; uses R11.
 */
void work_check_run(struct work *work, unsigned segment, unsigned index, unsigned size,
	unsigned shift, bool write);
/* May the mode's segment be accessed by what its kind says? */
bool translate_segment_permits(const struct code_mode *mode, unsigned segment, bool write);
/* Without raising: the linear address of what lies within the segment's limit. */
bool translate_segment_linear(struct vcpu *vcpu, const struct code_mode *mode, unsigned segment,
	uint64_t offset, unsigned size, gva_t *linear);

/* R10 changes. */
static inline void work_forget_pointer(struct work *work)
{
	work->pointer = NO_GROUP;
}

/* translate_insn.c */
void work_plain(struct work *work, const struct insn *insn);
void work_lea(struct work *work, const struct insn *insn);
void work_check_units(struct work *work, const struct insn *insn);

/* translate_legacy.c: 16 and 32-bit code. */
bool translate_legacy_is_plain(const struct insn *insn, const struct code_mode *mode);
bool translate_legacy_permits(
	const struct insn *insn, const struct code_mode *mode, enum translate_kind kind);
/* Does the host need 66 where 16-bit code has or has not? */
bool translate_legacy_needs_66(const struct insn *insn);
/* INC and DEC in one byte; false: it is something else. */
bool work_short_inc(struct work *work, const struct insn *insn);
void work_legacy_lea(struct work *work, const struct insn *insn);
void work_moffs(struct work *work, const struct insn *insn);
void work_swap_bytes(struct work *work, unsigned high);
void work_loop(struct work *work, const struct insn *insn);
void work_push_segment(struct work *work, const struct insn *insn);

/* translate_bit.c: BT, BTS, BTR, BTC with memory and a register. */
void work_bit_string(struct work *work, const struct insn *insn);

/* translate_string.c: MOVS and STOS, repeated or not. */
bool translate_string_is_inline(const struct insn *insn, const struct code_mode *mode);
void work_string(struct work *work, const struct insn *insn);

/* translate_system.c */
void work_system(struct work *work, const struct insn *insn, enum translate_kind kind);
/* R11 = the guest's RFLAGS, RF and VM clear; uses R10; the flags are in memory after it. */
void work_rflags(struct work *work);

/* RFLAGS = R11, of the system's only those in `system`; uses R10. */
void work_set_rflags(struct work *work, uint32_t system);

/* translate_privilege.c */
void work_syscall(struct work *work);
void work_sysret(struct work *work);
void work_iret(struct work *work);
void work_clac(struct work *work);
void work_stac(struct work *work);

/* translate_stack.c */
void work_push(struct work *work, const struct insn *insn, enum translate_kind kind);
void work_pop(struct work *work, const struct insn *insn);
void work_leave(struct work *work, const struct insn *insn);
/* What is pushed or popped, checked; then the stack pointer moves. */
struct emit_memory work_check_push(struct work *work, unsigned bytes);
struct emit_memory work_check_pop(struct work *work, unsigned bytes);
void work_store_immediate(
	struct work *work, unsigned bytes, uint64_t value, struct emit_memory memory);
void work_move_stack(struct work *work, int32_t bytes);
/* Pushes what is in struct vcpu at `offset`. */
void work_push_state(struct work *work, unsigned bytes, size_t offset);
/*
 * Pushes or pops of one group, from the current instruction on, with one change of RSP; the number
 * of instructions, 0 if it is none (and nothing is done).
 */
unsigned work_run(struct work *work);

/* translate_branch.c */
void work_jcc(struct work *work, const struct insn *insn);
void work_jcc_back(struct work *work, const struct insn *insn);
void work_jmp(struct work *work, const struct insn *insn);
void work_jmp_operand(struct work *work, const struct insn *insn);
void work_call(struct work *work, const struct insn *insn);
void work_call_operand(struct work *work, const struct insn *insn);
void work_ret(struct work *work, const struct insn *insn);
void work_link(struct work *work, gva_t target);
/* Into a mode that may be another than the block's. */
void work_link_to_mode(struct work *work, gva_t target, unsigned mode);
/* To the address in R11, with the flags in memory. */
void work_jump_r11(struct work *work, unsigned set);
/* Leaves before the instruction if R11 is not canonical; uses R10. */
void work_check_canonical(struct work *work);
void work_find_second(struct work *work, const uint8_t *found);
/* Jumps to a translation that checks each access from this instruction on if a check has failed. */
void work_leave_group(struct work *work, uint8_t *at);
void work_exit_insn(struct work *work);

/* translate_block.c */
void work_stub(struct work *work, uint8_t *at, enum exit_kind kind, uint32_t link, bool save_first);
struct translation *translate_block(struct translator *translator, const struct block *block,
	gva_t rip, uint32_t view, uint32_t second_view, bool single);

/* translate_move.c */
/* Emits that `reg` = an address of the block's region, or in it. */
void work_load_address(struct work *work, unsigned reg, gva_t address);
/* The 32 or 64 bits that the emitter has just put depend on the block's address. */
void work_fixup(struct work *work, enum fixup_kind kind);
/* The translation cannot be moved. */
void work_fix(struct work *work);
/* A link leads to the guard of a view's translation; or does not any more. */
void translator_bind_incoming(struct translator *translator, uint32_t link, uint32_t view);
/* Takes a view of the page that nothing uses to another linear page; NONE if there is none. */
uint32_t translator_move_view(
	struct translator *translator, gva_t linear, gpa_t physical, unsigned mode);

void translator_revive(struct translator *translator, struct translation *translation,
	const struct insn *insn, uint32_t second_view);

/* translate_find.c */
/* Nothing may come to it any more: its page was written, or what it reaches into. */
bool translate_is_dead(const struct translator *translator, const struct translation *translation);
/* Its page, or pages, are mapped where it is, in the mode of now. */
bool translate_is_mapped(struct vcpu *vcpu, const struct translation *translation);
/* The translation of what is at vcpu->rip, made if need be; NULL if that is the interpreter's, for
 * now. Raises what fetching does. `single`: the one in which every access has a check of its own.
 */
struct translation *translate_find(struct vcpu *vcpu);
struct translation *translate_find_slow(struct vcpu *vcpu, bool single);

/* translate_fill.c: the instruction at vcpu->rip has an access that was not direct. */
enum mmu_fill translate_fill(
	struct vcpu *vcpu, const struct code_mode *mode, const struct insn *insn);

/* translate_signal.c: between these the thread runs this vCPU. */
void translate_signals_begin(struct vcpu *vcpu);
void translate_signals_end(void);

/* code_cache.c */
/* How much code of a vCPU is kept. */
uint32_t translator_code_bytes(const struct soft_engine *engine);
int translator_create(struct vcpu *vcpu);
void translator_destroy(struct vcpu *vcpu);
void translator_flush(struct translator *translator);
bool translator_has_room(const struct translator *translator);

/* Before a translation: has the host make the pages that it will be in. */
void translator_populate(struct translator *translator);
uint32_t translator_find_view(
	const struct translator *translator, gva_t linear, gpa_t physical, unsigned mode);
uint32_t translator_view(
	struct translator *translator, gva_t linear, gpa_t physical, unsigned mode);
void translator_kill(struct translator *translator, gpa_t physical);
/* The TLB says that the view's page is mapped; or that some may not be any more. */
void translator_map(struct translator *translator, uint32_t view, bool global);
void translator_unmap_all(struct translator *translator, bool keep_global);
/* Views that are mapped and not global, the last ones first; returns how many of at most `max`.
 * Then those of them that are still what they were are mapped again. */
unsigned translator_mapped_views(
	const struct translator *translator, struct mmu_space_view *views, unsigned max);
void translator_map_views(
	struct translator *translator, const struct mmu_space_view *views, unsigned count);
void translator_unmap(struct translator *translator, gva_t linear);
struct translation *translator_find(
	struct translator *translator, gva_t rip, uint32_t page_id, bool single);
void translator_insert(struct translator *translator, struct translation *translation);
void translator_remove(struct translator *translator, const struct translation *translation);
/* The first of the chain in which the views of the physical page are. */
uint32_t translator_views_of(const struct translator *translator, gpa_t physical);
void translator_rename_view(struct translator *translator, uint32_t n, gva_t linear);
/* The jump cache has no such target. */
void translator_forget_jump(struct translator *translator, unsigned set, gva_t rip);
void translator_put_jump(struct translator *translator, uint32_t at, uint32_t target);
void translator_emit_routines(struct translator *translator);

static inline gva_t translation_address(
	const struct translator *translator, const struct translation *translation, unsigned n)
{
	return align_down(translation->rip, GUEST_PAGE_SIZE) |
	       translator->sites[translation->sites + n].guest;
}

static inline const struct code_mode *translation_mode(
	const struct translator *translator, const struct translation *translation)
{
	return &translator->modes[translator->views[translation->view].mode];
}

/* What RIP is there. */
static inline uint64_t translation_rip(
	const struct translator *translator, const struct translation *translation, unsigned n)
{
	return mode_rip(translation_mode(translator, translation),
		translation_address(translator, translation, n));
}

static inline uint32_t translation_hash(gva_t rip, uint32_t page_id)
{
	return (uint32_t)(rip ^ rip >> 13 ^ page_id * UINT32_C(0x9e3779b1)) &
	       ((1u << TRANSLATION_BUCKET_BITS) - 1);
}

/* Of a view's place in code_ids, from the vCPU. */
static inline uint32_t translator_id_offset(uint32_t view)
{
	return (uint32_t)(offsetof(struct vcpu, translate.code_ids) + view * sizeof(uint32_t));
}

static inline struct lookup *translator_lookup(struct translator *translator, gva_t rip)
{
	return &translator->lookup[(rip ^ rip >> LOOKUP_BITS) & ((1u << LOOKUP_BITS) - 1)];
}

static inline bool work_in_page(const struct work *work, gva_t address)
{
	return (work->translation->rip ^ address) >> GUEST_PAGE_SHIFT == 0;
}

/*
 * How the jump cache knows a target: 64-bit code by its address, other code by RIP and the mode in
 * the form of an address that is not canonical.
 */
static inline uint64_t jump_tag(unsigned mode)
{
	return mode < TRANSLATE_SETS ? 0 : BIT(63) | (uint64_t)mode << 32;
}

static inline unsigned jump_cache_slot(gva_t rip)
{
	return rip >> 3 & (JUMP_CACHE_SIZE - 1);
}

static inline unsigned jump_cache_second_slot(gva_t rip)
{
	return JUMP_CACHE_SIZE + ((rip ^ rip >> 16) & (JUMP_CACHE_SECOND_SIZE - 1));
}

#endif
