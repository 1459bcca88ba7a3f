/*
 * Model-specific registers under KVM: which of them the guest may touch, and those of cpu_state.
 *
 * The guest may touch what the software engine models too: registers that KVM models as well, and
 * those of fixed_msr.h, which exit. Anything else raises #GP(0) on both.
 * KVM does not filter the x2APIC's registers, which are those of the local APIC it provides.
 */
#include "base/log.h"
#include "engine/kvm/kvm_engine.h"
#include "x86/fixed_msr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Registers that travel in cpu_state but not in another KVM structure. */
struct state_msr {
	uint32_t index;
	uint32_t member; /* offset in cpu_state */
};

#define MSR(index, member)                                                                         \
	{                                                                                          \
		(index), offsetof(struct cpu_state, member)                                        \
	}
#define MTRR_PAIR(n)                                                                               \
	MSR(MSR_IA32_MTRR_PHYSBASE0 + 2 * (n), mtrr_base[n]),                                      \
		MSR(MSR_IA32_MTRR_PHYSBASE0 + 2 * (n) + 1, mtrr_mask[n])
#define MC_BANK(n)                                                                                 \
	MSR(MSR_IA32_MC0_CTL + 4 * (n), mc_bank[n][0]),                                            \
		MSR(MSR_IA32_MC0_CTL + 4 * (n) + 1, mc_bank[n][1]),                                \
		MSR(MSR_IA32_MC0_CTL + 4 * (n) + 2, mc_bank[n][2]),                                \
		MSR(MSR_IA32_MC0_CTL + 4 * (n) + 3, mc_bank[n][3])

#define MSR_IA32_MTRR_FIX16K_80000 0x258
#define MSR_IA32_MTRR_FIX16K_A0000 0x259
#define MSR_IA32_MTRR_FIX4K        0x268

static const struct state_msr state_msrs[] = {
	MSR(MSR_STAR, star),
	MSR(MSR_LSTAR, lstar),
	MSR(MSR_CSTAR, cstar),
	MSR(MSR_SFMASK, sfmask),
	MSR(MSR_KERNEL_GS_BASE, kernel_gs_base),
	MSR(MSR_IA32_SYSENTER_CS, sysenter_cs),
	MSR(MSR_IA32_SYSENTER_ESP, sysenter_esp),
	MSR(MSR_IA32_SYSENTER_EIP, sysenter_eip),
	MSR(MSR_IA32_TSC_ADJUST, tsc_adjust),
	MSR(MSR_TSC_AUX, tsc_aux),
	MSR(MSR_IA32_PAT, pat),
	MSR(MSR_IA32_MISC_ENABLE, misc_enable),
	MSR(MSR_IA32_SPEC_CTRL, spec_ctrl),
	MSR(MSR_IA32_DEBUGCTL, debugctl),
	MSR(MSR_IA32_XSS, xss),
	MSR(MSR_IA32_MTRR_FIX64K, mtrr_fixed[0]),
	MSR(MSR_IA32_MTRR_FIX16K_80000, mtrr_fixed[1]),
	MSR(MSR_IA32_MTRR_FIX16K_A0000, mtrr_fixed[2]),
	MSR(MSR_IA32_MTRR_FIX4K + 0, mtrr_fixed[3]),
	MSR(MSR_IA32_MTRR_FIX4K + 1, mtrr_fixed[4]),
	MSR(MSR_IA32_MTRR_FIX4K + 2, mtrr_fixed[5]),
	MSR(MSR_IA32_MTRR_FIX4K + 3, mtrr_fixed[6]),
	MSR(MSR_IA32_MTRR_FIX4K + 4, mtrr_fixed[7]),
	MSR(MSR_IA32_MTRR_FIX4K + 5, mtrr_fixed[8]),
	MSR(MSR_IA32_MTRR_FIX4K + 6, mtrr_fixed[9]),
	MSR(MSR_IA32_MTRR_FIX4K + 7, mtrr_fixed[10]),
	MTRR_PAIR(0),
	MTRR_PAIR(1),
	MTRR_PAIR(2),
	MTRR_PAIR(3),
	MTRR_PAIR(4),
	MTRR_PAIR(5),
	MTRR_PAIR(6),
	MTRR_PAIR(7),
	MSR(MSR_IA32_MTRR_DEF_TYPE, mtrr_def_type),
	MSR(MSR_IA32_MCG_STATUS, mcg_status),
	MSR(MSR_IA32_MCG_CTL, mcg_ctl),
	MC_BANK(0),
	MC_BANK(1),
	MC_BANK(2),
	MC_BANK(3),
	MC_BANK(4),
	MC_BANK(5),
	MC_BANK(6),
	MC_BANK(7),
	MC_BANK(8),
	MC_BANK(9),
	MSR(MSR_KVM_SYSTEM_TIME, kvm_system_time),
	MSR(MSR_KVM_WALL_CLOCK, kvm_wall_clock),
	MSR(MSR_KVM_PV_EOI_EN, kvm_pv_eoi),
	MSR(MSR_KVM_POLL_CONTROL, kvm_poll_control),
};

/* Registers that the guest may touch and that are constant, or that travel in other forms. */
static const uint32_t other_msrs[] = {
	MSR_IA32_TSC,
	MSR_IA32_PLATFORM_ID,
	MSR_IA32_APIC_BASE,
	MSR_IA32_FEATURE_CONTROL,
	MSR_IA32_PRED_CMD,
	MSR_IA32_UCODE_REV,
	MSR_IA32_MTRRCAP,
	MSR_IA32_ARCH_CAPABILITIES,
	MSR_IA32_MCG_CAP,
	MSR_IA32_TSC_DEADLINE,
	MSR_EFER,
	MSR_FS_BASE,
	MSR_GS_BASE,
	MSR_KVM_WALL_CLOCK_OLD,
	MSR_KVM_SYSTEM_TIME_OLD,
};

/* The filter's bitmaps: blocks of the register space that hold all of the above. */
#define FILTER_BLOCK_MSRS 0x1000
static const uint32_t filter_blocks[] = { 0x00000000, 0x4b564000, 0xc0000000 };

static void allow(struct kvm_msr_filter *filter, uint32_t index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(filter_blocks); i++) {
		const struct kvm_msr_filter_range *range = &filter->ranges[i];

		if (index - range->base < range->nmsrs)
			range->bitmap[(index - range->base) / 8] |= 1 << (index - range->base) % 8;
	}
}

int kvm_msr_filter(struct kvm_engine *engine, struct error *err)
{
	uint8_t bitmaps[ARRAY_SIZE(filter_blocks)][FILTER_BLOCK_MSRS / 8] = { 0 };
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };

	for (unsigned i = 0; i < ARRAY_SIZE(filter_blocks); i++)
		filter.ranges[i] = (struct kvm_msr_filter_range){
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.nmsrs = FILTER_BLOCK_MSRS,
			.base = filter_blocks[i],
			.bitmap = bitmaps[i],
		};
	for (unsigned i = 0; i < ARRAY_SIZE(state_msrs); i++)
		allow(&filter, state_msrs[i].index);
	for (unsigned i = 0; i < ARRAY_SIZE(other_msrs); i++)
		allow(&filter, other_msrs[i]);
	if (ioctl(engine->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM refuses a filter of registers");
	return 0;
}

void kvm_msr_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	bool is_read = run->exit_reason == KVM_EXIT_X86_RDMSR;
	uint64_t value = run->msr.data;
	bool exists = is_read ? fixed_msr_read(run->msr.index, &value)
			      : fixed_msr_write(run->msr.index, value);

	run->msr.error = !exists;
	run->msr.data = value;
	if (!exists)
		log_debug("vCPU %u %s the unknown MSR %#x", vcpu->index,
			is_read ? "reads" : "writes", run->msr.index);
}

struct msr_batch {
	struct kvm_msrs header;
	struct kvm_msr_entry entries[ARRAY_SIZE(state_msrs)];
};

_Static_assert(ARRAY_SIZE(state_msrs) <= KVM_MAX_STATE_MSRS, "kvm_engine.state_msrs is too short");

int kvm_msr_get(struct kvm_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct msr_batch batch = { .header.nmsrs = 1, .entries[0].index = index };
	int done = ioctl(vcpu->fd, KVM_GET_MSRS, &batch);

	if (done < 0)
		return -errno;
	*value = batch.entries[0].data;
	return done == 1 ? 0 : -ENOENT;
}

int kvm_msr_set(struct kvm_vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct msr_batch batch = { .header.nmsrs = 1,
		.entries[0] = { .index = index, .data = value } };
	int done = ioctl(vcpu->fd, KVM_SET_MSRS, &batch);

	if (done < 0)
		return -errno;
	return done == 1 ? 0 : -EINVAL;
}

/* Machine checks as the software engine has them: as many banks as cpu_state, with MCG_CTL. */
#define MCG_CTL_P BIT(8)

int kvm_msr_create_machine_checks(struct kvm_vcpu *vcpu)
{
	uint64_t capability = MCG_CTL_P | ARRAY_SIZE(((struct cpu_state *)0)->mc_bank);

	return ioctl(vcpu->fd, KVM_X86_SETUP_MCE, &capability) < 0 ? -errno : 0;
}

int kvm_msr_probe(struct kvm_engine *engine, struct kvm_vcpu *vcpu, struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(state_msrs); i++) {
		uint64_t value;
		int rc = kvm_msr_get(vcpu, state_msrs[i].index, &value);

		if (rc == 0)
			engine->state_msrs[engine->nr_state_msrs++] = i;
		else if (rc != -ENOENT)
			return error_set_errno(err, EXIT_CODE_HOST, -rc,
				"KVM does not tell which registers it has");
	}
	return 0;
}

int kvm_msr_get_state(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	const struct kvm_engine *engine = vcpu->engine;
	struct msr_batch batch = { .header.nmsrs = engine->nr_state_msrs };

	for (unsigned i = 0; i < engine->nr_state_msrs; i++)
		batch.entries[i].index = state_msrs[engine->state_msrs[i]].index;
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &batch) != (int)engine->nr_state_msrs)
		return -EIO;
	for (unsigned i = 0; i < engine->nr_state_msrs; i++) {
		const struct state_msr *msr = &state_msrs[engine->state_msrs[i]];

		memcpy((char *)state + msr->member, &batch.entries[i].data, sizeof(uint64_t));
	}
	return 0;
}

static uint64_t member(const struct cpu_state *state, unsigned i)
{
	uint64_t value;

	memcpy(&value, (const char *)state + state_msrs[i].member, sizeof(value));
	return value;
}

static int refuse(struct error *err, unsigned i, uint64_t value)
{
	return error_set(err, EXIT_CODE_CONFIG,
		"this host's KVM cannot hold the guest's MSR %#x = %#llx: use --engine soft, or a "
		"CPU model without it",
		state_msrs[i].index, (unsigned long long)value);
}

/* A register that this host lacks may hold nothing but its value after reset. */
static int check_absent(struct kvm_vcpu *vcpu, const struct cpu_state *state, struct error *err)
{
	const struct kvm_engine *engine = vcpu->engine;
	struct cpu_state reset;
	unsigned next = 0;

	cpu_state_reset(&reset, vcpu->index);
	for (unsigned i = 0; i < ARRAY_SIZE(state_msrs); i++) {
		if (next < engine->nr_state_msrs && engine->state_msrs[next] == i) {
			next++;
			continue;
		}
		if (member(state, i) != member(&reset, i))
			return refuse(err, i, member(state, i));
	}
	return 0;
}

/* Writes only what differs: KVM takes some registers' writes less well than their reads. */
int kvm_msr_set_state(struct kvm_vcpu *vcpu, const struct cpu_state *state, struct error *err)
{
	const struct kvm_engine *engine = vcpu->engine;
	struct msr_batch current = { .header.nmsrs = engine->nr_state_msrs };
	struct msr_batch batch = { .header.nmsrs = 0 };
	uint8_t rows[ARRAY_SIZE(state_msrs)];
	int done, rc = check_absent(vcpu, state, err);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < engine->nr_state_msrs; i++)
		current.entries[i].index = state_msrs[engine->state_msrs[i]].index;
	if (ioctl(vcpu->fd, KVM_GET_MSRS, &current) != (int)engine->nr_state_msrs)
		return error_set(
			err, EXIT_CODE_HOST, "KVM cannot read registers of vCPU %u", vcpu->index);
	for (unsigned i = 0; i < engine->nr_state_msrs; i++) {
		uint64_t value = member(state, engine->state_msrs[i]);

		if (value == current.entries[i].data)
			continue;
		rows[batch.header.nmsrs] = engine->state_msrs[i];
		batch.entries[batch.header.nmsrs++] =
			(struct kvm_msr_entry){ .index = current.entries[i].index, .data = value };
	}
	done = ioctl(vcpu->fd, KVM_SET_MSRS, &batch);
	if (done < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno,
			"KVM cannot write registers of vCPU %u", vcpu->index);
	if (done != (int)batch.header.nmsrs)
		return refuse(err, rows[done], batch.entries[done].data);
	return 0;
}
