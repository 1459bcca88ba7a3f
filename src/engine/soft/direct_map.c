/*
 * A runner's mappings (direct_map.h). Only 4-level paging, and only RAM; the rest faults and is
 * left to the interpreter. Owned by the vCPU's thread.
 *
 * A map keeps a copy of each page table it was filled from. After a flush the copies are compared
 * with the guest's tables, 4 KiB at a time, which is far cheaper than dropping all at each switch
 * of address spaces; what differs is unmapped. Large pages are treated as 512 small ones that lie
 * side by side, and neighbours are mapped together.
 */
#include "engine/soft/direct_map.h"

#include "engine/soft/code_pages.h"
#include "engine/soft/direct_scan.h"
#include "engine/soft/paging.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TABLE_SHIFT 21
#define TABLE_BYTES (UINT64_C(1) << TABLE_SHIFT)
#define FRAME       BITS(51, 12)
#define LARGE_PAT   BIT(12)

/* Beyond either, everything is dropped and filled again: vm.max_map_count is 65,530 by default. */
#define MAX_TABLES   2048
#define MAX_MAPPINGS 40000

#define PERMISSIONS (DIRECT_READ | DIRECT_WRITE | DIRECT_EXECUTE)
#define MAPPING     (PERMISSIONS | DIRECT_COPY) /* what mmap is told */

/* Where a walk ends above the page table. */
struct upper {
	uint64_t entry; /* with U, W of all levels and, inverted, NX; 0: nothing */
	unsigned shift; /* of what the entry maps: 30 or 21 (a large page), 12 (a table) */
};

static uint64_t reserved_bits(const struct vcpu *vcpu)
{
	return BITS(51, 0) & ~BITS(vcpu->cpu_model->physical_address_bits - 1, 0);
}

static const uint64_t *table_at(const struct vcpu *vcpu, gpa_t address)
{
	return guest_memory_host(&vcpu->machine->memory, address, GUEST_PAGE_SIZE);
}

static struct upper walk_upper(const struct vcpu *vcpu, gpa_t root, gva_t address)
{
	const struct upper nothing = { 0 };
	uint64_t reserved = reserved_bits(vcpu);
	uint64_t common = PTE_W | PTE_U, no_execute = 0, entry = root;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		const uint64_t *table = table_at(vcpu, entry & FRAME);

		if (!table)
			return nothing;
		entry = __atomic_load_n(&table[address >> shift & 0x1ff], __ATOMIC_RELAXED);
		if (!(entry & PTE_P) || entry & reserved || (shift == 39 && entry & PTE_PS))
			return nothing;
		common &= entry;
		no_execute |= entry & PTE_NX;
		if (entry & PTE_PS || shift == 21) {
			uint64_t flags = (entry & ~(PTE_W | PTE_U)) | common | no_execute;

			if (entry & PTE_PS && entry & BITS(shift - 1, 13))
				return nothing;
			return (struct upper){ flags, entry & PTE_PS ? shift : 12 };
		}
	}
	return nothing;
}

bool direct_map_is_free(struct vcpu *vcpu, gpa_t root, gva_t at)
{
	const uint64_t *table = table_at(vcpu, root);

	return table && !(__atomic_load_n(&table[at >> 39 & 0x1ff], __ATOMIC_RELAXED) & PTE_P);
}

void direct_map_init(struct direct_map *map, struct vcpu *vcpu, struct direct_runner *runner)
{
	*map = (struct direct_map){ .runner = runner, .vcpu = vcpu };
}

static struct direct_table **bucket_of(struct direct_map *map, gva_t address)
{
	uint64_t n = address >> TABLE_SHIFT;

	return &map->buckets[(n ^ n >> 9) % DIRECT_TABLE_BUCKETS];
}

static struct direct_table *find(struct direct_map *map, gva_t address)
{
	struct direct_table *table = *bucket_of(map, address);

	while (table && table->base != align_down(address, TABLE_BYTES))
		table = table->next;
	return table;
}

static void forget_tables(struct direct_map *map)
{
	for (unsigned n = 0; n < DIRECT_TABLE_BUCKETS; n++)
		while (map->buckets[n]) {
			struct direct_table *table = map->buckets[n];

			map->buckets[n] = table->next;
			free(table);
		}
	map->nr_tables = map->nr_mappings = 0;
}

void direct_map_finish(struct direct_map *map)
{
	forget_tables(map);
}

static void note_seen(struct direct_map *map)
{
	struct vcpu *vcpu = map->vcpu;

	map->flushes_seen = vcpu->direct_flushes;
	map->writes_seen = code_pages_log_end(vcpu->engine);
	map->revokes_seen = atomic_load(&vcpu->engine->direct_revokes);
	map->layouts_seen = atomic_load(&vcpu->engine->layouts);
}

void direct_map_reset(struct direct_map *map, gpa_t root)
{
	map->replaced = false;
	forget_tables(map);
	note_seen(map);
	map->root = root;
	map->nr_traps = 0;
	map->broken = direct_runner_unmap_all(map->runner) < 0;
}

static void check(struct direct_map *map, int ret)
{
	if (ret < 0)
		map->broken = true;
}

static void unmap(struct direct_map *map, struct direct_table *table, unsigned n)
{
	check(map, direct_runner_unmap(
			   map->runner, table->base + n * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE));
	table->mapped[n] = 0;
	map->nr_mappings++;
}

/* What an entry allows a user's access that changes no A or D; 0 if it is not RAM. */
static unsigned allows(const struct direct_map *map, const struct direct_table *table,
	uint64_t entry, struct ram_place *place)
{
	const uint64_t needed = PTE_P | PTE_A | PTE_U;
	struct vcpu *vcpu = map->vcpu;
	unsigned permissions = DIRECT_READ;

	if ((entry & needed) != needed || !(table->upper & PTE_U) || entry & reserved_bits(vcpu))
		return 0;
	if (!guest_memory_find(&vcpu->machine->memory, entry & FRAME, place) ||
		place->region->fd < 0 || (entry & FRAME) == (vcpu->apic_base & APIC_BASE_ADDRESS))
		return 0;
	if ((entry & (PTE_W | PTE_D)) == (PTE_W | PTE_D) && table->upper & PTE_W &&
		!place->read_only)
		permissions |= DIRECT_WRITE;
	if (!((entry | table->upper) & PTE_NX))
		permissions |= DIRECT_EXECUTE;
	return permissions;
}

static uint64_t guest_entry(const struct direct_table *table, unsigned n)
{
	if (table->source)
		return __atomic_load_n(&table->source[n], __ATOMIC_RELAXED);
	return (table->upper & ~(PTE_PS | LARGE_PAT)) + n * UINT64_C(4096);
}

/* The guest's entry has changed: unmaps the page unless it may stay as it is. */
static void follow_entry(struct direct_map *map, struct direct_table *table, unsigned n)
{
	struct ram_place place;
	uint64_t entry = guest_entry(table, n);
	bool moved = (entry ^ table->entries[n]) & FRAME;

	table->entries[n] = entry;
	if (n > 0 && table->mapped[n - 1] & DIRECT_TAIL)
		unmap(map, table, n - 1);
	if (!table->mapped[n])
		return;
	if (moved || table->mapped[n] & PERMISSIONS & ~allows(map, table, entry, &place))
		unmap(map, table, n);
}

static void drop_table(struct direct_map *map, struct direct_table **at)
{
	struct direct_table *table = *at;

	check(map, direct_runner_unmap(map->runner, table->base, TABLE_BYTES));
	*at = table->next;
	free(table);
	map->nr_tables--;
}

static bool upper_matches(
	const struct upper *upper, const struct direct_map *map, const struct direct_table *table)
{
	uint64_t entry = upper->entry;

	if (!entry)
		return false;
	if (upper->shift == 30)
		entry += table->base & BITS(29, 21);
	if ((upper->shift == 12) != (table->source != NULL))
		return false;
	if (table->source)
		return !((entry ^ table->upper) & (FRAME | PTE_U | PTE_W | PTE_NX)) &&
		       table->source == table_at(map->vcpu, entry & FRAME);
	return entry == table->upper;
}

/* False: the table is gone. */
static bool sync_table(struct direct_map *map, struct direct_table **at)
{
	struct direct_table *table = *at;
	struct upper upper = walk_upper(map->vcpu, map->root, table->base);

	if (!upper_matches(&upper, map, table)) {
		drop_table(map, at);
		return false;
	}
	if (!table->source || memcmp(table->source, table->entries, sizeof(table->entries)) == 0)
		return true;
	for (unsigned n = 0; n < DIRECT_TABLE_ENTRIES; n++)
		if (guest_entry(table, n) != table->entries[n])
			follow_entry(map, table, n);
	return true;
}

/* Code that the page behind `n` begins with; false if it may be anything. */
static bool find_tail(const struct direct_map *map, const struct direct_table *table, unsigned n,
	struct ram_place *place)
{
	unsigned allowed;

	if (n + 1 == DIRECT_TABLE_ENTRIES)
		return false;
	allowed = allows(map, table, table->entries[n + 1], place);
	return allowed & DIRECT_EXECUTE && !(allowed & DIRECT_WRITE);
}

static uint32_t tail_generation(
	const struct direct_map *map, const struct direct_table *table, unsigned n)
{
	struct ram_place place;

	if (!(table->mapped[n] & DIRECT_TAIL) || !find_tail(map, table, n, &place))
		return 0;
	return atomic_load(
		code_pages_generation_at(map->vcpu->engine, table->entries[n + 1] & FRAME));
}

/* What was written or decoded since: see code_pages.h. */
static void recheck_table(struct direct_map *map, struct direct_table *table)
{
	struct soft_engine *engine = map->vcpu->engine;

	for (unsigned n = 0; n < DIRECT_TABLE_ENTRIES; n++) {
		gpa_t page = table->entries[n] & FRAME;

		if (table->mapped[n] & (DIRECT_EXECUTE | DIRECT_UNFIT)) {
			const _Atomic uint32_t *now = code_pages_generation_at(engine, page);

			if (atomic_load(now) + tail_generation(map, table, n) !=
				table->generations[n])
				unmap(map, table, n);
		} else if (table->mapped[n] & DIRECT_WRITE && code_pages_is_code(engine, page)) {
			unmap(map, table, n);
		}
	}
}

/* A program has more tables than this, for its code, its libraries, its stack; of which another
 * program that gets the same page tables later keeps at most a part. */
#define MIN_TABLES    3
#define REPLACED_PART 3

static void sync_tables(struct direct_map *map, bool recheck)
{
	unsigned before = map->nr_tables;

	for (unsigned n = 0; n < DIRECT_TABLE_BUCKETS; n++) {
		struct direct_table **at = &map->buckets[n];

		while (*at) {
			if (!sync_table(map, at))
				continue;
			if (recheck)
				recheck_table(map, *at);
			at = &(*at)->next;
		}
	}
	map->replaced = before >= MIN_TABLES && map->nr_tables <= before / REPLACED_PART;
}

bool direct_map_sync(struct direct_map *map, bool host_tsc)
{
	struct vcpu *vcpu = map->vcpu;
	bool recheck = map->writes_seen != code_pages_log_end(vcpu->engine) ||
		       map->revokes_seen != atomic_load(&vcpu->engine->direct_revokes);

	if (map->broken)
		return false;
	if (!direct_map_is_free(vcpu, map->root, map->runner->stub))
		return false;
	if (map->host_tsc != host_tsc) {
		map->host_tsc = host_tsc;
		direct_map_reset(map, map->root);
	}
	if (map->layouts_seen != atomic_load(&vcpu->engine->layouts) ||
		map->nr_tables > MAX_TABLES || map->nr_mappings > MAX_MAPPINGS)
		direct_map_reset(map, map->root);
	if (recheck || map->flushes_seen != vcpu->direct_flushes) {
		note_seen(map);
		sync_tables(map, recheck);
		check(map, direct_runner_commit(map->runner));
	}
	return !map->broken;
}

static struct direct_table *create_table(
	struct direct_map *map, gva_t address, const struct upper *upper)
{
	struct direct_table **bucket = bucket_of(map, address);
	struct direct_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->base = align_down(address, TABLE_BYTES);
	table->upper = upper->entry;
	if (upper->shift == 30)
		table->upper += table->base & BITS(29, 21);
	if (upper->shift == 12) {
		table->source = table_at(map->vcpu, upper->entry & FRAME);
		if (!table->source) {
			free(table);
			return NULL;
		}
	}
	table->next = *bucket;
	*bucket = table;
	map->nr_tables++;
	return table;
}

static const uint8_t *declare_tail(struct direct_map *map, struct direct_table *table, unsigned n)
{
	struct ram_place place;

	if (n + 1 < DIRECT_TABLE_ENTRIES && guest_entry(table, n + 1) != table->entries[n + 1])
		follow_entry(map, table, n + 1);
	if (!find_tail(map, table, n, &place))
		return NULL;
	table->generations[n] +=
		code_pages_add(map->vcpu, table->entries[n + 1] & FRAME, DIRECT_SCAN_NEXT);
	return place.region->host + place.offset;
}

/* Declares the page code and looks whether it may run. A copy is for readers only. */
static unsigned approve(struct direct_map *map, struct direct_table *table, unsigned n,
	const struct ram_place *place)
{
	const uint8_t *code = place->region->host + place->offset, *next = NULL;
	gpa_t page = table->entries[n] & FRAME;
	struct direct_traps traps;
	enum direct_scan scan;
	unsigned tail = 0;

	table->generations[n] = code_pages_add(map->vcpu, page, GUEST_PAGE_SIZE);
	if (direct_scan_needs_next(code)) {
		tail = DIRECT_TAIL;
		next = declare_tail(map, table, n);
	}
	scan = direct_scan(code, next, map->host_tsc, &traps);
	if (scan == DIRECT_SCAN_CLEAN)
		return DIRECT_EXECUTE | tail;
	if (scan == DIRECT_SCAN_UNFIT || table->entries[n] & table->upper & PTE_W ||
		map->nr_traps + traps.count > DIRECT_MAX_PENDING_TRAPS)
		return DIRECT_UNFIT | tail;
	code_pages_note_copy(map->vcpu->engine, page);
	for (unsigned i = 0; i < traps.count; i++)
		map->traps[map->nr_traps++] = table->base + n * GUEST_PAGE_SIZE + traps.at[i];
	return DIRECT_EXECUTE | DIRECT_COPY | tail;
}

/* What to map a page as: at least what it is mapped as. */
static unsigned choose(struct direct_map *map, struct direct_table *table, unsigned n, bool execute,
	struct ram_place *place)
{
	unsigned mapped = table->mapped[n];
	unsigned allowed = allows(map, table, table->entries[n], place);
	unsigned chosen = DIRECT_READ | (mapped & (DIRECT_UNFIT | DIRECT_COPY | DIRECT_TAIL));

	/* A runner has one file: that of the guest's own memory. */
	if (!allowed || place->region->foreign)
		return 0;
	if (allowed & DIRECT_EXECUTE && !(mapped & DIRECT_UNFIT) &&
		(execute || !(allowed & DIRECT_WRITE))) {
		if (mapped & DIRECT_EXECUTE)
			return chosen | DIRECT_EXECUTE;
		return chosen | approve(map, table, n, place);
	}
	if (mapped & DIRECT_EXECUTE)
		return chosen | DIRECT_EXECUTE;
	if (allowed & DIRECT_WRITE &&
		(mapped & DIRECT_WRITE ||
			code_pages_write_directly(map->vcpu->engine, table->entries[n] & FRAME)))
		chosen |= DIRECT_WRITE;
	return chosen;
}

/* Pages that are to be mapped alike and lie side by side in the file. */
struct extent {
	gva_t start;
	uint64_t size, offset;
	unsigned permissions;
};

static void map_extent(struct direct_map *map, struct extent *extent)
{
	int protection = PROT_READ;

	if (extent->size == 0)
		return;
	if (extent->permissions & DIRECT_WRITE)
		protection |= PROT_WRITE;
	if (extent->permissions & DIRECT_EXECUTE)
		protection |= PROT_EXEC;
	check(map, direct_runner_map(map->runner, extent->start, extent->size, protection,
			   extent->permissions & DIRECT_COPY, extent->offset));
	map->nr_mappings++;
	extent->size = 0;
}

static void extend(struct direct_map *map, struct extent *extent, gva_t at, uint64_t offset,
	unsigned permissions)
{
	if (extent->size > 0 && extent->start + extent->size == at &&
		extent->offset + extent->size == offset && extent->permissions == permissions) {
		extent->size += GUEST_PAGE_SIZE;
		return;
	}
	map_extent(map, extent);
	*extent = (struct extent){ at, GUEST_PAGE_SIZE, offset, permissions };
}

/* The table for `address`, as the guest's upper levels are now; NULL if they lead nowhere. */
static struct direct_table *current_table(struct direct_map *map, gva_t address)
{
	struct upper upper = walk_upper(map->vcpu, map->root, address);
	struct direct_table **at = bucket_of(map, address);

	while (*at && (*at)->base != align_down(address, TABLE_BYTES))
		at = &(*at)->next;
	if (*at && upper_matches(&upper, map, *at))
		return *at;
	if (*at)
		drop_table(map, at);
	return upper.entry ? create_table(map, address, &upper) : NULL;
}

static void fill_page(struct direct_map *map, struct direct_table *table, unsigned n, bool execute,
	struct extent *extent)
{
	struct ram_place place;
	unsigned chosen = choose(map, table, n, execute, &place);

	if (!chosen || chosen == table->mapped[n])
		return;
	if ((chosen & MAPPING) != (table->mapped[n] & MAPPING))
		extend(map, extent, table->base + n * GUEST_PAGE_SIZE,
			place.region->fd_offset + place.offset, chosen & MAPPING);
	table->mapped[n] = (uint8_t)chosen;
}

static void put_traps(struct direct_map *map)
{
	while (map->nr_traps > 0 && !map->broken)
		check(map, direct_runner_trap(map->runner, map->traps[--map->nr_traps]));
	map->nr_traps = 0;
}

bool direct_map_fill(struct direct_map *map, gva_t address, bool execute)
{
	unsigned at = address >> GUEST_PAGE_SHIFT & (DIRECT_TABLE_ENTRIES - 1);
	struct direct_table *table;
	struct extent extent = { 0 };
	unsigned before;

	if (address < DIRECT_USER_START || address >= DIRECT_USER_END)
		return false;
	table = current_table(map, address);
	if (!table)
		return false;
	before = table->mapped[at];
	for (unsigned n = 0; n < DIRECT_TABLE_ENTRIES; n++) {
		if (guest_entry(table, n) != table->entries[n])
			follow_entry(map, table, n);
		if (table->entries[n] & PTE_P)
			fill_page(map, table, n, execute && n == at, &extent);
	}
	map_extent(map, &extent);
	check(map, direct_runner_commit(map->runner));
	put_traps(map);
	return !map->broken && table->mapped[at] & PERMISSIONS & ~before;
}

bool direct_map_is_unfit(struct direct_map *map, gva_t address)
{
	unsigned at = address >> GUEST_PAGE_SHIFT & (DIRECT_TABLE_ENTRIES - 1);
	const struct direct_table *table;

	if (map->writes_seen != code_pages_log_end(map->vcpu->engine) ||
		map->flushes_seen != map->vcpu->direct_flushes)
		return false;
	table = find(map, address);
	return table && table->mapped[at] & DIRECT_UNFIT;
}

bool direct_map_executes(struct direct_map *map, gva_t address)
{
	unsigned at = address >> GUEST_PAGE_SHIFT & (DIRECT_TABLE_ENTRIES - 1);
	const struct direct_table *table = find(map, address);

	if (table && table->mapped[at] & (DIRECT_EXECUTE | DIRECT_UNFIT))
		return table->mapped[at] & DIRECT_EXECUTE;
	return direct_map_fill(map, address, true);
}
