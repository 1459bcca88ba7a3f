/*
 * Hardware task switches (SDM 3A chapter 7). After the old task is saved and the new one's
 * registers are loaded, faults of its segments are raised in the new task, as on hardware.
 */
#include "engine/soft/debug.h"
#include "engine/soft/descriptor.h"
#include "engine/soft/execute.h"
#include "engine/soft/paging.h"

/* Where a TSS keeps things, 16-bit and 32-bit (SDM 3A figures 7-10 and 7-2). */
struct layout {
	unsigned bytes; /* of a register */
	unsigned rip, rflags, gpr, segments, nr_segments, ldt, limit;
};

static const struct layout layout_16 = {
	.bytes = 2,
	.rip = 14,
	.rflags = 16,
	.gpr = 18,
	.segments = 34,
	.nr_segments = 4,
	.ldt = 42,
	.limit = 43,
};
static const struct layout layout_32 = {
	.bytes = 4,
	.rip = 32,
	.rflags = 36,
	.gpr = 40,
	.segments = 72,
	.nr_segments = 6,
	.ldt = 96,
	.limit = 103,
};

#define TSS_LINK 0
#define TSS_CR3  28
#define TSS_TRAP 100

struct image {
	uint32_t rip, rflags, cr3;
	uint32_t gpr[8];
	uint16_t segment[6];
	uint16_t ldt;
	bool trap;
};

static const struct layout *layout_of(uint32_t attributes)
{
	return attributes_type(attributes) & 8 ? &layout_32 : &layout_16;
}

static uint32_t read_field(struct vcpu *vcpu, gva_t tss, unsigned offset, unsigned bytes)
{
	return mmu_system_read(vcpu, (uint32_t)(tss + offset), bytes);
}

static void write_field(
	struct vcpu *vcpu, gva_t tss, unsigned offset, unsigned bytes, uint32_t value)
{
	mmu_system_write(vcpu, (uint32_t)(tss + offset), bytes, value & byte_mask(bytes));
}

static struct descriptor find_tss(
	struct vcpu *vcpu, uint16_t selector, enum task_switch_cause cause)
{
	bool returning = cause == TASK_SWITCH_RETURN;
	enum x86_vector vector = returning ? X86_TS : X86_GP;
	uint32_t error = selector_error(selector);
	struct descriptor tss;
	uint32_t attributes;
	unsigned expected;

	if (selector_is_null(selector) || selector & SELECTOR_TI)
		cpu_raise_error(vcpu, vector, error);
	descriptor_need(vcpu, selector, &tss, vector);
	attributes = descriptor_attributes(&tss);
	expected = returning ? SEG_TYPE_TSS16_BUSY : SEG_TYPE_TSS16_FREE;
	if (attributes & SEG_S || (attributes_type(attributes) & ~8u) != expected)
		cpu_raise_error(vcpu, vector, error);
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, error);
	if (descriptor_segment(&tss, selector).limit < layout_of(attributes)->limit)
		cpu_raise_error(vcpu, X86_TS, error);
	return tss;
}

static void read_image(
	struct vcpu *vcpu, gva_t tss, const struct layout *layout, struct image *image)
{
	unsigned bytes = layout->bytes;

	image->cr3 = bytes == 4 ? read_field(vcpu, tss, TSS_CR3, 4) : 0;
	image->trap = bytes == 4 && read_field(vcpu, tss, TSS_TRAP, 2) & 1;
	image->rip = read_field(vcpu, tss, layout->rip, bytes);
	image->rflags = read_field(vcpu, tss, layout->rflags, bytes);
	for (unsigned i = 0; i < 8; i++)
		image->gpr[i] = read_field(vcpu, tss, layout->gpr + i * bytes, bytes);
	for (unsigned i = 0; i < 6; i++)
		image->segment[i] = i < layout->nr_segments
					    ? read_field(vcpu, tss, layout->segments + i * bytes, 2)
					    : 0;
	image->ldt = read_field(vcpu, tss, layout->ldt, 2);
}

/* Only the dynamic fields are written. */
static void save_task(struct vcpu *vcpu, uint32_t rflags)
{
	const struct cpu_segment *tr = &vcpu->segment[X86_TR];
	const struct layout *layout = layout_of(tr->attributes);
	unsigned bytes = layout->bytes;
	unsigned size = layout->ldt - layout->rip;

	mmu_system_probe_write(vcpu, (uint32_t)(tr->base + layout->rip), size);
	write_field(vcpu, tr->base, layout->rip, bytes, vcpu->next_rip);
	write_field(vcpu, tr->base, layout->rflags, bytes, rflags);
	for (unsigned i = 0; i < 8; i++)
		write_field(vcpu, tr->base, layout->gpr + i * bytes, bytes, vcpu->gpr[i]);
	for (unsigned i = 0; i < layout->nr_segments; i++)
		write_field(
			vcpu, tr->base, layout->segments + i * bytes, 2, vcpu->segment[i].selector);
}

static void clear_old_busy(struct vcpu *vcpu)
{
	struct descriptor old;

	if (descriptor_read(vcpu, vcpu->segment[X86_TR].selector, &old))
		descriptor_set_busy(vcpu, &old, false);
}

static void load_cr3(struct vcpu *vcpu, uint32_t cr3)
{
	if (!vcpu->mode.paging || vcpu->cr3 == cr3)
		return;
	vcpu->cr3 = cr3;
	mmu_flush_non_global(vcpu);
	if (!(vcpu->cr4 & CR4_PAE))
		return;
	for (unsigned i = 0; i < 4; i++) {
		bool read_only;
		const uint8_t *entry = paging_ram(vcpu,
			paging_view(vcpu, ((cr3 & ~31u) + 8 * i) & vcpu->a20_mask), &read_only);

		vcpu->pdpte[i] = entry ? host_load(entry, 8) : 0;
	}
}

static void load_ldt(struct vcpu *vcpu, uint16_t selector)
{
	struct descriptor ldt;
	uint32_t attributes;

	vcpu->segment[X86_LDTR] = segment_null(selector, 0);
	if (selector_is_null(selector))
		return;
	if (selector & SELECTOR_TI || !descriptor_read(vcpu, selector, &ldt))
		cpu_raise_error(vcpu, X86_TS, selector_error(selector));
	attributes = descriptor_attributes(&ldt);
	if ((attributes & (SEG_S | SEG_TYPE)) != SEG_TYPE_LDT || !(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_TS, selector_error(selector));
	vcpu->segment[X86_LDTR] = descriptor_segment(&ldt, selector);
}

static void load_cs(struct vcpu *vcpu, uint16_t selector)
{
	unsigned rpl = selector & SELECTOR_RPL;
	uint32_t error = selector_error(selector);
	struct descriptor code;
	uint32_t attributes;
	unsigned dpl;

	if (selector_is_null(selector))
		cpu_raise_error(vcpu, X86_TS, 0);
	descriptor_need(vcpu, selector, &code, X86_TS);
	attributes = descriptor_attributes(&code);
	dpl = attributes_dpl(attributes);
	if (!attributes_are_code(attributes) ||
		(attributes_are_conforming(attributes) ? dpl > rpl : dpl != rpl))
		cpu_raise_error(vcpu, X86_TS, error);
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, error);
	descriptor_set_accessed(vcpu, &code);
	segment_set_cs(vcpu, &code, rpl);
}

static void load_data(struct vcpu *vcpu, unsigned segment, uint16_t selector)
{
	uint32_t error = selector_error(selector);
	struct descriptor data;
	uint32_t attributes;
	unsigned dpl;
	bool conforming;

	if (selector_is_null(selector))
		return;
	descriptor_need(vcpu, selector, &data, X86_TS);
	attributes = descriptor_attributes(&data);
	dpl = attributes_dpl(attributes);
	conforming = attributes & SEG_TYPE_CODE && attributes & SEG_TYPE_CONFORMING;
	if (!(attributes & SEG_S) ||
		(attributes & SEG_TYPE_CODE && !(attributes & SEG_TYPE_READABLE)) ||
		(!conforming && (dpl < (selector & SELECTOR_RPL) || dpl < vcpu->mode.cpl)))
		cpu_raise_error(vcpu, X86_TS, error);
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, error);
	descriptor_set_accessed(vcpu, &data);
	vcpu->segment[segment] = descriptor_segment(&data, selector);
}

static void load_protected_segments(struct vcpu *vcpu, const struct image *image)
{
	static const uint8_t data[] = { X86_ES, X86_DS, X86_FS, X86_GS };
	unsigned cpl = image->segment[X86_CS] & SELECTOR_RPL;

	for (unsigned i = 0; i < X86_LDTR; i++)
		vcpu->segment[i] = segment_null(image->segment[i], cpl);
	vcpu_update_mode(vcpu);
	/* SS first (table 7-1), so that a bad CS can be reported on the new task's stack. */
	vcpu->segment[X86_SS] = segment_stack(vcpu, image->segment[X86_SS], cpl, X86_TS);
	load_cs(vcpu, image->segment[X86_CS]);
	vcpu_update_mode(vcpu);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		load_data(vcpu, data[i], image->segment[data[i]]);
	vcpu_update_mode(vcpu);
}

static void load_segments(struct vcpu *vcpu, const struct image *image)
{
	load_ldt(vcpu, image->ldt);
	if (vcpu->flags_system & RFLAGS_VM) {
		for (unsigned i = 0; i < X86_LDTR; i++)
			segment_load_real(vcpu, i, image->segment[i]);
		vcpu_update_mode(vcpu);
	} else {
		load_protected_segments(vcpu, image);
	}
}

static void push_error(struct vcpu *vcpu, unsigned bytes, uint32_t error)
{
	struct stack stack = stack_current(vcpu);

	stack_frame_push(vcpu, &stack, bytes, error);
	stack_commit(vcpu, &stack);
}

void task_switch(struct vcpu *vcpu, uint16_t selector, enum task_switch_cause cause, int64_t error)
{
	bool nests = cause == TASK_SWITCH_CALL || cause == TASK_SWITCH_GATE;
	uint32_t old_rflags = vcpu_rflags(vcpu);
	uint16_t old_selector = vcpu->segment[X86_TR].selector;
	struct descriptor descriptor = find_tss(vcpu, selector, cause);
	const struct layout *layout = layout_of(descriptor_attributes(&descriptor));
	struct cpu_segment tss = descriptor_segment(&descriptor, selector);
	struct image image;

	read_image(vcpu, tss.base, layout, &image);
	if (cause == TASK_SWITCH_RETURN)
		old_rflags &= ~RFLAGS_NT;
	save_task(vcpu, old_rflags);
	if (!nests)
		clear_old_busy(vcpu);
	if (cause != TASK_SWITCH_RETURN)
		descriptor_set_busy(vcpu, &descriptor, true);
	if (nests) {
		write_field(vcpu, tss.base, TSS_LINK, 2, old_selector);
		image.rflags |= RFLAGS_NT;
	}

	tss.attributes |= SEG_TYPE_TSS16_BUSY;
	vcpu->segment[X86_TR] = tss;
	vcpu->cr0 |= CR0_TS;
	if (layout->bytes == 4)
		load_cr3(vcpu, image.cr3);
	for (unsigned i = 0; i < 8; i++)
		vcpu->gpr[i] = layout->bytes == 4 ? image.gpr[i]
						  : (vcpu->gpr[i] & 0xffff0000) | image.gpr[i];
	vcpu->dr7 &= ~(BIT(0) | BIT(2) | BIT(4) | BIT(6));
	vcpu->rip = vcpu->next_rip = image.rip;
	vcpu->block = NULL;
	vcpu_set_rflags(vcpu, image.rflags);
	load_segments(vcpu, &image);
	debug_update(vcpu);

	if (image.rip > vcpu->segment[X86_CS].limit)
		cpu_raise_error(vcpu, X86_GP, 0);
	if (error >= 0)
		push_error(vcpu, layout->bytes, error);
	vcpu->single_step = false;
	if (image.trap)
		vcpu->debug_pending |= DR6_BT;
}
