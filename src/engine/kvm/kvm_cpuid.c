/*
 * The guest's CPUID under KVM: the CPU model's answers, less what this host's KVM cannot give.
 *
 * Only leaves that enumerate features are masked. KVM itself keeps up the bits that follow the
 * guest's registers (OSXSAVE, the size of the XSAVE area).
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define CPUID_1_ECX_TSC_DEADLINE BIT(24)
#define CPUID_1_ECX_OSXSAVE      BIT(27)
#define CPUID_1_ECX_HYPERVISOR   BIT(31)
#define CPUID_1_EDX_HTT          BIT(28)

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Registers of features: a bit survives if KVM supports it, or if it describes no ability. */
static const struct {
	uint32_t leaf, subleaf;
	enum cpuid_register reg;
	uint32_t always;
} feature_registers[] = {
	{ 0x1, 0, CPUID_ECX, CPUID_1_ECX_OSXSAVE | CPUID_1_ECX_HYPERVISOR },
	{ 0x1, 0, CPUID_EDX, CPUID_1_EDX_HTT },
	{ 0x7, 0, CPUID_EBX, 0 },
	{ 0x7, 0, CPUID_ECX, 0 },
	{ 0x7, 0, CPUID_EDX, 0 },
	{ 0x7, 1, CPUID_EAX, 0 },
	{ 0xd, 0, CPUID_EAX, 0 },
	{ 0xd, 0, CPUID_EDX, 0 },
	{ 0xd, 1, CPUID_EAX, 0 },
	{ 0x40000001, 0, CPUID_EAX, 0 },
	{ 0x80000001, 0, CPUID_ECX, 0 },
	{ 0x80000001, 0, CPUID_EDX, 0 },
	{ 0x80000008, 0, CPUID_EBX, 0 },
};

#define PHYSICAL_ADDRESS_BITS BITS(7, 0) /* of 80000008h EAX */

static uint32_t *entry_register(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
	switch (reg) {
	case CPUID_EAX: return &entry->eax;
	case CPUID_EBX: return &entry->ebx;
	case CPUID_ECX: return &entry->ecx;
	default: return &entry->edx;
	}
}

static const struct kvm_cpuid_entry2 *find_entry(
	const struct kvm_cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < table->header.nent; i++)
		if (table->entries[i].function == leaf && table->entries[i].index == subleaf)
			return &table->entries[i];
	return NULL;
}

static void mask_features(struct kvm_cpuid_entry2 *entry, const struct kvm_cpuid_table *supported,
	bool has_tsc_deadline)
{
	struct kvm_cpuid_entry2 none = { 0 };
	const struct kvm_cpuid_entry2 *found = find_entry(supported, entry->function, entry->index);
	struct kvm_cpuid_entry2 can = found ? *found : none;

	for (unsigned i = 0; i < ARRAY_SIZE(feature_registers); i++) {
		uint32_t allowed = feature_registers[i].always;
		enum cpuid_register reg = feature_registers[i].reg;

		if (feature_registers[i].leaf != entry->function ||
			feature_registers[i].subleaf != entry->index)
			continue;
		if (entry->function == 1 && reg == CPUID_ECX && has_tsc_deadline)
			allowed |= CPUID_1_ECX_TSC_DEADLINE;
		*entry_register(entry, reg) &= allowed | *entry_register(&can, reg);
	}
	if (entry->function == 0x80000008) {
		uint64_t bits = field_get(PHYSICAL_ADDRESS_BITS, can.eax);

		if (bits && field_get(PHYSICAL_ADDRESS_BITS, entry->eax) > bits)
			entry->eax = field_set(PHYSICAL_ADDRESS_BITS, entry->eax, bits);
	}
}

/* SDM 2A, CPUID leaves 15h and 16h; leaf 40000010h as VMware and KVM have it. */
static void set_rate(struct kvm_cpuid_entry2 *entry, const struct cpu_model *model, uint64_t tsc_hz)
{
	if (tsc_hz == model->tsc_hz)
		return;
	switch (entry->function) {
	case 0x15: entry->ebx = tsc_hz / 1000; break;
	case 0x16: entry->eax = entry->ebx = (tsc_hz + 500000) / 1000000; break;
	case 0x40000010: entry->eax = tsc_hz / 1000; break;
	}
}

void kvm_cpuid_build(const struct cpu_model *model, unsigned index,
	const struct kvm_cpuid_table *supported, bool has_tsc_deadline, uint64_t tsc_hz,
	struct kvm_cpuid_table *table)
{
	table->header = (struct kvm_cpuid2){ 0 };
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		const struct cpuid_leaf *leaf = &model->leaves[i];
		struct kvm_cpuid_entry2 *entry = &table->entries[table->header.nent++];
		uint32_t out[4];

		cpu_model_cpuid(
			model, index, leaf->leaf, leaf->subleaf, false, model->xcr0_supported, out);
		*entry = (struct kvm_cpuid_entry2){
			.function = leaf->leaf,
			.index = leaf->subleaf_matters ? leaf->subleaf : 0,
			.flags = leaf->subleaf_matters ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = out[0],
			.ebx = out[1],
			.ecx = out[2],
			.edx = out[3],
		};
		mask_features(entry, supported, has_tsc_deadline);
		set_rate(entry, model, tsc_hz);
	}
}

int kvm_cpuid_set(struct kvm_vcpu *vcpu, struct error *err)
{
	struct kvm_engine *engine = vcpu->engine;
	struct kvm_cpuid_table *supported = calloc(2, sizeof(*supported));
	bool has_tsc_deadline =
		ioctl(engine->device_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	int rc = 0;

	if (!supported)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for CPUID");
	supported->header.nent = KVM_CPUID_MAX_ENTRIES;
	if (ioctl(engine->device_fd, KVM_GET_SUPPORTED_CPUID, supported) < 0) {
		rc = error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM does not tell what CPUID it supports");
	} else {
		struct kvm_cpuid_table *table = supported + 1;

		kvm_cpuid_build(engine->base.cpu_model, vcpu->index, supported, has_tsc_deadline,
			engine->tsc_hz, table);
		if (ioctl(vcpu->fd, KVM_SET_CPUID2, table) < 0)
			rc = error_set_errno(err, EXIT_CODE_HOST, errno,
				"KVM refuses the CPU model %s", engine->base.cpu_model->name);
	}
	free(supported);
	return rc;
}
