/*
 * The software engine: creation, the run entry, and the wires to the machine.
 *
 * It needs nothing of the host but threads and memory, so it runs everywhere.
 */
#include "engine/soft/apic.h"
#include "engine/soft/code_pages.h"
#include "engine/soft/counters.h"
#include "engine/soft/direct.h"
#include "engine/soft/interpret.h"
#include "engine/soft/kvmclock.h"
#include "engine/soft/mmu.h"
#include "engine/soft/populate.h"
#include "engine/soft/smm.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vector.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define A20_CLOSED (~BIT(20))

static struct soft_engine *soft_engine(struct engine *engine)
{
	return container_of(engine, struct soft_engine, base);
}

static int soft_probe(struct error *err)
{
	(void)err;
	return 0;
}

static void bus_msi(void *engine, gpa_t address, uint32_t data)
{
	apic_message(engine, address, data);
}

static void bus_intr(void *engine, bool level)
{
	apic_set_intr(engine, level);
}

static void bus_nmi(void *engine)
{
	apic_nmi(engine);
}

static void bus_smi(void *opaque)
{
	struct soft_engine *engine = opaque;

	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		smm_request(&engine->vcpus[i]);
}

static void bus_set_a20(void *opaque, bool enabled)
{
	struct soft_engine *engine = opaque;
	uint64_t mask = enabled ? UINT64_MAX : A20_CLOSED;

	if (atomic_exchange(&engine->a20_mask, mask) == mask)
		return;
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		vcpu_request(&engine->vcpus[i], REQUEST_FLUSH_TLB);
}

static void memory_written(void *engine, gpa_t address, uint64_t size)
{
	code_pages_written(engine, address, size);
}

static void memory_changed(void *opaque, const struct ram_region *region, uint64_t from)
{
	struct soft_engine *engine = opaque;

	code_pages_moved(engine, region, from);
	atomic_fetch_add(&engine->layouts, 1);
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		vcpu_request(&engine->vcpus[i], REQUEST_FLUSH_TLB);
}

static void wire(struct soft_engine *engine)
{
	struct machine *machine = engine->base.machine;

	machine->cpu_bus.engine = engine;
	machine->cpu_bus.msi = bus_msi;
	machine->cpu_bus.intr = bus_intr;
	machine->cpu_bus.nmi = bus_nmi;
	machine->cpu_bus.smi = bus_smi;
	machine->cpu_bus.set_a20 = bus_set_a20;
	machine->cpu_bus.route = NULL;
	machine->memory.written = memory_written;
	machine->memory.changed = memory_changed;
	machine->memory.written_context = engine;
}

static unsigned usable_host_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

static int create_vcpus(struct soft_engine *engine, struct error *err)
{
	engine->vcpus = populate_map_large(engine->nr_vcpus * sizeof(struct vcpu));
	if (!engine->vcpus)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot allocate the virtual CPUs");
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *vcpu = &engine->vcpus[i];

		vcpu->index = i;
		vcpu->engine = engine;
		vcpu->machine = engine->base.machine;
		vcpu->cpu_model = engine->base.cpu_model;
		vcpu->a20_mask = engine->a20_mask;
		atomic_init(&vcpu->quiescent, true);
		insn_features_init(&vcpu->features, vcpu->cpu_model);
		mmu_init(vcpu);
	}
	return 0;
}

static int create_parts(
	struct soft_engine *engine, const struct engine_config *config, struct error *err)
{
	/* With the translator alone, the mode for tests and comparison, all code is translated. */
	unsigned cold_runs = config->soft_direct && !config->count_exactly ? COLD_RUNS : 0;
	int ret = create_vcpus(engine, err);

	if (ret == 0)
		ret = code_pages_create(engine, err);
	if (ret == 0)
		ret = populate_create(engine, err);
	if (ret == 0)
		ret = vector_init(engine, err);
	for (unsigned i = 0; ret == 0 && i < engine->nr_vcpus; i++)
		ret = block_cache_create(&engine->vcpus[i], err);
	if (ret == 0 && engine->mode == SOFT_MODE_TRANSLATE)
		ret = translate_create(engine, cold_runs, err);
	if (ret == 0 && config->soft_direct && !config->count_exactly)
		direct_create(engine);
	return ret;
}

static void soft_destroy(struct engine *base)
{
	struct soft_engine *engine;

	if (!base)
		return;
	engine = soft_engine(base);
	if (engine->base.machine->memory.written_context == engine)
		engine->base.machine->memory.written = NULL;
	if (engine->base.machine->memory.written_context == engine)
		engine->base.machine->memory.changed = NULL;
	if (engine->vcpus) {
		direct_destroy(engine);
		translate_destroy(engine);
		for (unsigned i = 0; i < engine->nr_vcpus; i++)
			block_cache_destroy(&engine->vcpus[i]);
		vector_finish(engine);
		munmap(engine->vcpus, engine->nr_vcpus * sizeof(struct vcpu));
	}
	populate_destroy(engine);
	code_pages_destroy(engine);
	if (engine->code_dump)
		fclose(engine->code_dump);
	pthread_mutex_destroy(&engine->split_lock);
	pthread_mutex_destroy(&engine->tsc_lock);
	free(engine);
}

static int open_code_dump(struct soft_engine *engine, const char *path, struct error *err)
{
	if (!path)
		return 0;
	engine->code_dump = fopen(path, "we");
	if (!engine->code_dump)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot write translated code to '%s'", path);
	return 0;
}

static int soft_create(
	const struct engine_config *config, struct engine **created, struct error *err)
{
	struct soft_engine *engine = calloc(1, sizeof(*engine));
	int ret;

	if (!engine)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot allocate the software engine");
	engine->base.ops = &soft_engine_ops;
	engine->base.machine = config->machine;
	engine->base.cpu_model = config->cpu_model;
	engine->nr_vcpus = config->machine->nr_vcpus;
	engine->mode = config->soft_mode;
	engine->count_exactly = config->count_exactly;
	engine->host_tsc = config->host_tsc;
	engine->host_cpus = usable_host_cpus();
	atomic_init(&engine->a20_mask, UINT64_MAX);
	atomic_init(&engine->tsc_anchor.stale, true);
	pthread_mutex_init(&engine->split_lock, NULL);
	pthread_mutex_init(&engine->tsc_lock, NULL);
	ret = open_code_dump(engine, config->dump_code, err);
	if (ret == 0)
		ret = create_parts(engine, config, err);
	if (ret < 0) {
		soft_destroy(&engine->base);
		return ret;
	}
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct cpu_state state;

		cpu_state_reset(&state, i);
		vcpu_set_state(&engine->vcpus[i], &state);
	}
	wire(engine);
	*created = &engine->base;
	return 0;
}

static const struct executor *executor_of(const struct soft_engine *engine)
{
	return engine->mode == SOFT_MODE_TRANSLATE ? &translate_executor : &interpret_executor;
}

static void soft_run(struct engine *base, unsigned index, struct vcpu_exit *exit)
{
	struct vcpu *vcpu = &soft_engine(base)->vcpus[index];
	bool was_paused = tsc_follow_clock(vcpu);

	/* Halts end by a futex's timeout, which the default slack would delay by 50 us. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	if (was_paused || atomic_load(&vcpu->kvmclock_stale))
		kvmclock_update(vcpu, was_paused);
	exit->text[0] = '\0';
	exit->reason = executor_of(soft_engine(base))->execute(vcpu);
	vector_leave(vcpu);
	direct_rest(vcpu);
}

static void soft_kick(struct engine *base, unsigned index)
{
	vcpu_request(&soft_engine(base)->vcpus[index], REQUEST_KICK);
}

static int soft_get_state(struct engine *base, unsigned index, struct cpu_state *state)
{
	vcpu_get_state(&soft_engine(base)->vcpus[index], state);
	return 0;
}

static int soft_set_state(
	struct engine *base, unsigned index, const struct cpu_state *state, struct error *err)
{
	if (!state_check(&cpu_state_table, state, err))
		return -EINVAL;
	vcpu_set_state(&soft_engine(base)->vcpus[index], state);
	return 0;
}

const struct engine_ops soft_engine_ops = {
	.name = "soft",
	.probe = soft_probe,
	.create = soft_create,
	.destroy = soft_destroy,
	.run = soft_run,
	.kick = soft_kick,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.counters = soft_counters,
};
