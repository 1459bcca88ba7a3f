/*
 * The modes that translations are made for: beside the bytes, all that decides what an instruction
 * does and that code seldom changes. Decode mode, set of the TLB, CS's base and limit, width of the
 * stack pointer, and of each other segment whether it has a base, a limit, may be written.
 *
 * Modes 0 to TRANSLATE_SETS - 1 are 64-bit code with that set. The others are numbered as they are
 * met; when there are no numbers left the translator is flushed. Bases and limits of segments other
 * than CS are looked up when the code runs (translate_segment.c).
 */
#include "engine/soft/translator.h"

#include "engine/soft/descriptor.h"

static bool is_wide_code(const struct vcpu *vcpu)
{
	return vcpu->mode.insn == INSN_MODE_64;
}

static bool judges_types(const struct vcpu *vcpu)
{
	return vcpu->mode.protected_mode && !vcpu->mode.virtual_8086;
}

/* As segment_linear_checked has it. */
static uint8_t segment_kind(const struct vcpu *vcpu, unsigned n)
{
	const struct cpu_segment *segment = &vcpu->segment[n];
	uint32_t attributes = segment->attributes;
	uint8_t read_only = 0;

	if (attributes & SEG_UNUSABLE)
		return SEGMENT_INTERPRETED;
	if ((attributes & (SEG_TYPE_CODE | SEG_TYPE_EXPAND_DOWN)) == SEG_TYPE_EXPAND_DOWN)
		return SEGMENT_INTERPRETED;
	if (judges_types(vcpu)) {
		if (attributes & SEG_TYPE_CODE && !(attributes & SEG_TYPE_READABLE))
			return SEGMENT_INTERPRETED;
		if (!attributes_are_writable_data(attributes))
			read_only = SEGMENT_READ_ONLY;
	}
	if (segment->limit != UINT32_MAX)
		return SEGMENT_LIMITED | read_only;
	return (segment->base ? SEGMENT_BASED : SEGMENT_FLAT) | read_only;
}

static struct code_mode describe(const struct vcpu *vcpu)
{
	struct code_mode mode = {
		.cs_base = (uint32_t)vcpu->segment[X86_CS].base,
		.cs_limit = vcpu->segment[X86_CS].limit,
		.set = (uint8_t)translate_set(vcpu),
		.insn = (uint8_t)vcpu->mode.insn,
		.stack_bytes = vcpu->segment[X86_SS].attributes & SEG_DB ? 4 : 2,
		.protected_mode = judges_types(vcpu),
		.virtual_8086 = vcpu->mode.virtual_8086,
	};

	for (unsigned n = 0; n < TRANSLATE_SEGMENTS; n++)
		mode.segments[n] = segment_kind(vcpu, n);
	return mode;
}

static bool same_mode(const struct code_mode *a, const struct code_mode *b)
{
	bool same = a->cs_base == b->cs_base && a->cs_limit == b->cs_limit && a->set == b->set &&
		    a->insn == b->insn && a->stack_bytes == b->stack_bytes &&
		    a->protected_mode == b->protected_mode && a->virtual_8086 == b->virtual_8086;

	for (unsigned n = 0; n < TRANSLATE_SEGMENTS; n++)
		same = same && a->segments[n] == b->segments[n];
	return same;
}

static uint16_t *bucket(struct translator *translator, const struct code_mode *mode)
{
	uint32_t hash = mode->cs_base >> 4 ^ mode->cs_base >> 12 ^ mode->set ^ mode->insn << 2;

	for (unsigned n = 0; n < TRANSLATE_SEGMENTS; n++)
		hash = hash * 5 + mode->segments[n];
	return &translator->mode_buckets[hash % MODE_BUCKETS];
}

void translate_modes_reset(struct translator *translator)
{
	for (unsigned i = 0; i < MODE_BUCKETS; i++)
		translator->mode_buckets[i] = NO_MODE;
	for (unsigned set = 0; set < TRANSLATE_SETS; set++)
		translator->modes[set] = (struct code_mode){
			.cs_limit = UINT32_MAX,
			.set = (uint8_t)set,
			.insn = INSN_MODE_64,
			.stack_bytes = 8,
			.protected_mode = true,
		};
	translator->nr_modes = TRANSLATE_SETS;
	translator->vcpu->translate.mode = MODE_UNKNOWN;
}

static unsigned find(struct translator *translator, const struct code_mode *mode)
{
	unsigned n = *bucket(translator, mode);

	while (n != NO_MODE && !same_mode(&translator->modes[n], mode))
		n = translator->modes[n].next;
	return n;
}

unsigned translate_mode_now(struct vcpu *vcpu)
{
	struct translate_context *context = &vcpu->translate;
	struct code_mode mode;

	if (is_wide_code(vcpu))
		return translate_set(vcpu);
	if (context->mode != MODE_UNKNOWN)
		return context->mode;
	mode = describe(vcpu);
	context->mode = (uint16_t)find(context->translator, &mode);
	return context->mode;
}

unsigned translate_mode(struct vcpu *vcpu)
{
	struct translator *translator = vcpu->translate.translator;
	unsigned n = translate_mode_now(vcpu);
	struct code_mode mode;
	uint16_t *head;

	if (n != NO_MODE)
		return n;
	if (translator->nr_modes == MAX_MODES)
		return NO_MODE;
	mode = describe(vcpu);
	head = bucket(translator, &mode);
	mode.next = *head;
	n = translator->nr_modes++;
	translator->modes[n] = mode;
	*head = (uint16_t)n;
	vcpu->translate.mode = (uint16_t)n;
	return n;
}
