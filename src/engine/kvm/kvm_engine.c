/*
 * A virtual machine of KVM: its creation, its memory slots and its operations.
 * API: Linux Documentation/virt/kvm/api.rst.
 */
#include "base/log.h"
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CPUINFO_PATH "/proc/cpuinfo"
#define DEVICE_PATH  "/dev/kvm"

/*
 * Four pages that no board uses, for Intel processors without unrestricted guest mode: they need
 * an identity-mapped page table and a TSS of three pages to run real mode.
 */
#define IDENTITY_MAP_ADDRESS 0xfeffc000
#define TSS_ADDRESS          0xfeffd000

static int kvm_engine_probe(struct error *err)
{
	int fd = kvm_probe_open(CPUINFO_PATH, DEVICE_PATH, err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int create_vm(struct kvm_engine *engine, struct error *err)
{
	uint64_t identity_map = IDENTITY_MAP_ADDRESS;
	struct kvm_enable_cap user_msrs = { .cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_FILTER } };

	do
		engine->vm_fd = ioctl(engine->device_fd, KVM_CREATE_VM, 0);
	while (engine->vm_fd < 0 && errno == EINTR);
	if (engine->vm_fd < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM cannot create a virtual machine");
	if (ioctl(engine->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
		ioctl(engine->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDRESS) < 0 ||
		ioctl(engine->vm_fd, KVM_ENABLE_CAP, &user_msrs) < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM refuses to set up a virtual machine");
	return 0;
}

/* Of KVM's address spaces, in the upper half of a slot's number. */
enum view { VIEW_NORMAL, VIEW_SMM };

static unsigned nr_views(const struct kvm_engine *engine)
{
	return engine->base.machine->has_smm ? 2 : 1;
}

static bool is_shown(uint64_t place, enum view view)
{
	return ram_place_kind(place) != RAM_HIDDEN &&
	       (ram_place_kind(place) != RAM_SMM || view == VIEW_SMM);
}

/* Tells the kernel where the region is; `shown`: not hidden. */
static int set_slot(
	struct kvm_engine *engine, const struct ram_region *region, enum view view, bool shown)
{
	struct kvm_userspace_memory_region slot = {
		.slot = (uint32_t)(region - engine->base.machine->memory.regions) | (uint32_t)view
											    << 16,
		.flags = ram_region_kind(region) == RAM_ROM ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = ram_region_base(region),
		.memory_size = shown ? region->size : 0,
		.userspace_addr = (uintptr_t)region->host,
	};

	return ioctl(engine->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

static int map_memory(struct kvm_engine *engine, struct error *err)
{
	const struct guest_memory *memory = &engine->base.machine->memory;

	for (unsigned i = 0; i < nr_views(engine) * memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i / nr_views(engine)];
		enum view view = (enum view)(i % nr_views(engine));
		int rc = is_shown(region->place, view) ? set_slot(engine, region, view, true) : 0;

		if (rc < 0)
			return error_set_errno(err, EXIT_CODE_HOST, -rc,
				"KVM cannot map %llu MiB of guest memory at %#llx",
				(unsigned long long)region->size >> 20,
				(unsigned long long)ram_region_base(region));
	}
	return 0;
}

/*
 * A slot's place and flags cannot be changed, only taken away and made anew; between the two a
 * vCPU's access would look like one to a device. So all of them are kept out of the guest. The
 * vCPU that makes the change has left it for that.
 */
static void memory_changed(void *opaque, const struct ram_region *region, uint64_t from)
{
	struct kvm_engine *engine = opaque;
	int rc = 0;

	kvm_vcpus_keep_out(engine);
	for (unsigned view = 0; view < nr_views(engine) && rc == 0; view++) {
		if (is_shown(from, view))
			rc = set_slot(engine, region, view, false);
		if (rc == 0 && is_shown(region->place, view))
			rc = set_slot(engine, region, view, true);
	}
	kvm_vcpus_let_in(engine);
	if (rc < 0)
		log_error("KVM cannot move memory to %#llx: %s",
			(unsigned long long)ram_region_base(region), strerror(-rc));
}

static int create_vcpus(struct kvm_engine *engine, struct error *err)
{
	unsigned nr = engine->base.machine->nr_vcpus;
	int max = ioctl(engine->device_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	int run_size = ioctl(engine->device_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	int rc;

	if (max > 0 && nr > (unsigned)max)
		return error_set(err, EXIT_CODE_CONFIG,
			"%u CPUs are more than this host's KVM can run: give at most %d with "
			"--cpus",
			nr, max);
	if (run_size < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "KVM does not tell the size of a vCPU");
	engine->run_size = run_size;
	engine->vcpus = calloc(nr, sizeof(*engine->vcpus));
	if (!engine->vcpus)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for %u CPUs", nr);
	for (unsigned i = 0; i < nr; i++) {
		engine->nr_vcpus = i + 1;
		rc = kvm_vcpu_create(&engine->vcpus[i], engine, i, err);
		if (rc < 0)
			return rc;
	}
	return kvm_msr_probe(engine, &engine->vcpus[0], err);
}

static int reset_vcpus(struct kvm_engine *engine, struct error *err)
{
	struct cpu_state *state = aligned_alloc(_Alignof(struct cpu_state), sizeof(*state));
	int rc = 0;

	if (!state)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for CPU state");
	for (unsigned i = 0; i < engine->nr_vcpus && rc == 0; i++) {
		cpu_state_reset(state, i);
		rc = kvm_state_set(&engine->base, i, state, err);
	}
	free(state);
	return rc;
}

static void kvm_engine_destroy(struct engine *base)
{
	struct kvm_engine *engine = kvm_engine_of(base);

	if (!engine)
		return;
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		kvm_vcpu_destroy(&engine->vcpus[i]);
	free(engine->vcpus);
	if (engine->vm_fd >= 0)
		close(engine->vm_fd);
	if (engine->device_fd >= 0)
		close(engine->device_fd);
	if (engine->base.machine->memory.written_context == engine)
		engine->base.machine->memory.changed = NULL;
	pthread_mutex_destroy(&engine->gate_lock);
	pthread_mutex_destroy(&engine->route_lock);
	pthread_mutex_destroy(&engine->tsc_lock);
	free(engine);
}

static int kvm_engine_create(
	const struct engine_config *config, struct engine **engine_out, struct error *err)
{
	struct kvm_engine *engine = calloc(1, sizeof(*engine));
	int rc;

	if (!engine)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for an engine");
	engine->base.ops = &kvm_engine_ops;
	engine->base.machine = config->machine;
	engine->base.cpu_model = config->cpu_model;
	engine->vm_fd = -1;
	pthread_mutex_init(&engine->tsc_lock, NULL);
	pthread_mutex_init(&engine->route_lock, NULL);
	pthread_mutex_init(&engine->gate_lock, NULL);

	rc = engine->device_fd = kvm_probe_open(CPUINFO_PATH, DEVICE_PATH, err);
	if (rc < 0)
		goto fail;
	rc = create_vm(engine, err);
	if (rc < 0)
		goto fail;
	rc = kvm_irqchip_create(engine, err);
	if (rc < 0)
		goto fail;
	rc = kvm_smm_create(engine, err);
	if (rc < 0)
		goto fail;
	rc = kvm_msr_filter(engine, err);
	if (rc < 0)
		goto fail;
	rc = map_memory(engine, err);
	if (rc < 0)
		goto fail;
	rc = create_vcpus(engine, err);
	if (rc < 0)
		goto fail;
	rc = reset_vcpus(engine, err);
	if (rc < 0)
		goto fail;
	config->machine->memory.changed = memory_changed;
	config->machine->memory.written_context = engine;
	*engine_out = &engine->base;
	return 0;
fail:
	kvm_engine_destroy(&engine->base);
	return rc;
}

static unsigned kvm_engine_counters(
	struct engine *base, struct engine_counter *counters, unsigned max)
{
	static const char *const names[KVM_NR_COUNTERS] = {
		[KVM_COUNT_PIO] = "exits.pio",
		[KVM_COUNT_MMIO] = "exits.mmio",
		[KVM_COUNT_EOI] = "exits.eoi",
		[KVM_COUNT_INTERRUPT_WINDOW] = "exits.interrupt_window",
		[KVM_COUNT_MSR] = "exits.msr",
		[KVM_COUNT_INTERRUPTED] = "exits.interrupted",
	};
	struct kvm_engine *engine = kvm_engine_of(base);

	for (unsigned i = 0; i < KVM_NR_COUNTERS && i < max; i++) {
		counters[i] = (struct engine_counter){ .name = names[i] };
		for (unsigned v = 0; v < engine->nr_vcpus; v++)
			counters[i].value += atomic_load_explicit(
				&engine->vcpus[v].counters[i], memory_order_relaxed);
	}
	return KVM_NR_COUNTERS;
}

const struct engine_ops kvm_engine_ops = {
	.name = "kvm",
	.has_irqfd = true,
	.probe = kvm_engine_probe,
	.create = kvm_engine_create,
	.destroy = kvm_engine_destroy,
	.run = kvm_vcpu_run,
	.kick = kvm_vcpu_kick,
	.get_state = kvm_state_get,
	.set_state = kvm_state_set,
	.counters = kvm_engine_counters,
};
