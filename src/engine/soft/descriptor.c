/*
 * Reading and interpreting segment descriptors.
 */
#include "engine/soft/descriptor.h"

#include "engine/soft/execute.h"

static bool read_at(struct vcpu *vcpu, uint16_t selector, unsigned offset, uint64_t *value)
{
	unsigned index = (selector & ~7u) + offset;
	gva_t base = vcpu->gdtr.base;
	uint32_t limit = vcpu->gdtr.limit;

	if (selector & SELECTOR_TI) {
		if (vcpu->segment[X86_LDTR].attributes & SEG_UNUSABLE)
			return false;
		base = vcpu->segment[X86_LDTR].base;
		limit = vcpu->segment[X86_LDTR].limit;
	}
	if (index + 7 > limit)
		return false;
	base += index;
	if (!vcpu->mode.long_mode)
		base = (uint32_t)base;
	*value = mmu_system_read(vcpu, base, 8);
	return true;
}

bool descriptor_read(struct vcpu *vcpu, uint16_t selector, struct descriptor *descriptor)
{
	bool local = selector & SELECTOR_TI;

	descriptor->selector = selector;
	descriptor->high = 0;
	descriptor->address =
		(local ? vcpu->segment[X86_LDTR].base : vcpu->gdtr.base) + (selector & ~7u);
	if (!vcpu->mode.long_mode)
		descriptor->address = (uint32_t)descriptor->address;
	return read_at(vcpu, selector, 0, &descriptor->low);
}

bool descriptor_read_high(struct vcpu *vcpu, struct descriptor *descriptor)
{
	return read_at(vcpu, descriptor->selector, 8, &descriptor->high);
}

void descriptor_need(
	struct vcpu *vcpu, uint16_t selector, struct descriptor *descriptor, enum x86_vector vector)
{
	if (!descriptor_read(vcpu, selector, descriptor))
		cpu_raise_error(vcpu, vector, selector_error(selector));
}

struct cpu_segment descriptor_segment(const struct descriptor *descriptor, uint16_t selector)
{
	uint32_t limit = (descriptor->low & 0xffff) | (descriptor->low >> 32 & 0xf0000);
	uint32_t attributes = descriptor_attributes(descriptor);
	struct cpu_segment segment = {
		.base = (descriptor->low >> 16 & 0xffffff) | (descriptor->low >> 32 & 0xff000000) |
			descriptor->high << 32,
		.limit = attributes & SEG_G ? limit << 12 | 0xfff : limit,
		.attributes = attributes,
		.selector = selector,
	};

	return segment;
}

void descriptor_set_accessed(struct vcpu *vcpu, struct descriptor *descriptor)
{
	uint64_t accessed = (uint64_t)SEG_TYPE_ACCESSED << 40;

	if (descriptor->low & accessed)
		return;
	descriptor->low |= accessed;
	mmu_system_write(vcpu, descriptor->address + 5, 1, descriptor->low >> 40);
}

void descriptor_set_busy(struct vcpu *vcpu, const struct descriptor *descriptor, bool busy)
{
	uint8_t type = mmu_system_read(vcpu, descriptor->address + 5, 1);

	mmu_system_write(vcpu, descriptor->address + 5, 1, busy ? type | 2 : type & ~2);
}
