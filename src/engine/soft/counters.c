#include "engine/soft/counters.h"

#include "engine/soft/mmu.h"
#include "engine/soft/translator.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vcpu.h"

/* What a counter is summed from. */
enum source {
	ALWAYS,    /* struct vcpu */
	TRANSLATE, /* struct translator_counters, if the guest is translated */
	TICKS,     /* likewise, ticks of the host's TSC, shown as nanoseconds */
	EXACT,     /* struct vcpu, under --stats=exact */
	DIRECT,    /* struct vcpu, if user code may run natively */
	DIRECT_TICKS,
};

#define VCPU(field)       offsetof(struct vcpu, field)
#define TRANSLATOR(field) offsetof(struct translator_counters, field)

static const struct row {
	const char *name;
	enum source source;
	size_t offset;
	const char *meaning;
} rows[] = {
	{ "instructions interpreted", ALWAYS, VCPU(instructions),
		"executed by the interpreter; a repeated string instruction is one" },
	{ "instructions executed translated", EXACT, VCPU(translate.executed),
		"executed as translated code" },
	{ "TLB misses, read", ALWAYS, VCPU(counters.tlb_misses[MMU_READ]),
		"page tables were walked for a load" },
	{ "TLB misses, write", ALWAYS, VCPU(counters.tlb_misses[MMU_WRITE]),
		"page tables were walked for a store" },
	{ "TLB misses, code", ALWAYS, VCPU(counters.tlb_misses[MMU_EXECUTE]),
		"page tables were walked for a fetch" },
	{ "device accesses", ALWAYS, VCPU(counters.device_accesses),
		"loads and stores that were no RAM's; ports are not counted" },
	{ "interrupts", ALWAYS, VCPU(counters.interrupts), "taken, NMI included" },
	{ "exceptions", ALWAYS, VCPU(counters.exceptions), "delivered" },
	{ "blocks translated", TRANSLATE, TRANSLATOR(translated), "decoded blocks made host code" },
	{ "instructions translated", TRANSLATE, TRANSLATOR(instructions), "of these blocks" },
	{ "translation ns", TICKS, TRANSLATOR(translation_ticks),
		"time inside the translator, decoding included" },
	{ "entries", TRANSLATE, TRANSLATOR(entries), "translated code was entered from C" },
	{ "exits at an untranslated instruction", TRANSLATE, TRANSLATOR(untranslated),
		"the interpreter executed it" },
	{ "exits at an access", TRANSLATE, TRANSLATOR(slow_accesses),
		"a TLB miss, a device, written code, or a fault: the interpreter executed it" },
	{ "exits for a unit", TRANSLATE, TRANSLATOR(exits[EXIT_UNIT]),
		"the guest's vector registers were not in the host's" },
	{ "exits at an entry", TRANSLATE, TRANSLATOR(exits[EXIT_ENTRY]),
		"a block's page was not mapped any more, or a request waited" },
	{ "exits at a link", TRANSLATE, TRANSLATOR(exits[EXIT_LINK]),
		"a direct branch was not linked yet" },
	{ "exits at a privilege change", TRANSLATE, TRANSLATOR(exits[EXIT_BRANCH]),
		"the jump cache did not hold the target of SYSCALL or SYSRET" },
	{ "exits at an indirect branch", TRANSLATE, TRANSLATOR(exits[EXIT_JUMP]),
		"the jump cache did not hold the target" },
	{ "host faults", TRANSLATE, TRANSLATOR(faults), "signals that translated code caused" },
	{ "code pages moved", TRANSLATE, TRANSLATOR(moved),
		"translated code was taken to another linear address" },
	{ "code pages killed", TRANSLATE, TRANSLATOR(killed),
		"their code was written, their blocks are dead" },
	{ "code cache flushes", TRANSLATE, TRANSLATOR(flushes), "everything was dropped" },
	{ "direct address spaces", DIRECT, VCPU(direct_counters.spaces),
		"computed for long, and were run natively" },
	{ "direct pauses", DIRECT, VCPU(direct_counters.pauses),
		"native runs were too short, the translator went on for a while" },
	{ "direct ns", DIRECT_TICKS, VCPU(direct_counters.run_tsc),
		"time in native runs, switching included" },
	{ "direct runs", DIRECT, VCPU(direct_counters.entries),
		"times user code was run natively; they ended for what follows" },
	{ "direct system calls", DIRECT, VCPU(direct_counters.system_calls), "SYSCALL, INT 80h" },
	{ "direct kicks", DIRECT, VCPU(direct_counters.kicks), "a request, such as an interrupt" },
	{ "direct faults mapped", DIRECT, VCPU(direct_counters.faults_mapped),
		"a page that the guest's page tables have" },
	{ "direct faults interpreted", DIRECT, VCPU(direct_counters.faults_interpreted),
		"a page fault of the guest's, a device, written code" },
	{ "direct exceptions", DIRECT, VCPU(direct_counters.exceptions), "any other exception" },
	{ "direct unfit code", DIRECT, VCPU(direct_counters.unfit),
		"times code was left to the translator because its page may not run natively" },
};

static uint64_t value_of(const struct vcpu *vcpu, const struct row *row)
{
	bool of_translator = row->source == TRANSLATE || row->source == TICKS;
	const void *from =
		of_translator ? (const void *)&vcpu->translate.translator->counters : vcpu;
	uint64_t value = *(const uint64_t *)((const uint8_t *)from + row->offset);

	return row->source == TICKS || row->source == DIRECT_TICKS
		       ? mul_div(value, NS_PER_S, vcpu->cpu_model->tsc_hz)
		       : value;
}

static bool is_kept(const struct soft_engine *engine, const struct row *row)
{
	if (row->source == ALWAYS)
		return true;
	if (row->source == DIRECT || row->source == DIRECT_TICKS)
		return engine->vcpus[0].direct;
	return engine->mode == SOFT_MODE_TRANSLATE &&
	       (row->source != EXACT || engine->count_exactly);
}

unsigned soft_counters(struct engine *base, struct engine_counter *counters, unsigned max)
{
	struct soft_engine *engine = container_of(base, struct soft_engine, base);
	unsigned count = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t sum = 0;

		if (!is_kept(engine, &rows[i]))
			continue;
		for (unsigned n = 0; n < engine->nr_vcpus; n++)
			sum += value_of(&engine->vcpus[n], &rows[i]);
		if (count < max)
			counters[count] =
				(struct engine_counter){ rows[i].name, sum, rows[i].meaning };
		count++;
	}
	return count;
}
