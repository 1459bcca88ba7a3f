/*
 * Guest memory accesses: the slow path behind the inline ones of mmu.h, the TLB's filling and
 * flushing, and devices' MMIO. Owned by the vCPU's thread.
 */
#include "engine/soft/mmu.h"

#include "base/trace.h"

#include "engine/soft/apic.h"
#include "engine/soft/code_pages.h"
#include "engine/soft/debug.h"
#include "engine/soft/execute.h"
#include "engine/soft/mmu_space.h"
#include "engine/soft/paging.h"
#include "engine/soft/populate.h"
#include "engine/soft/vector.h"

#define PAGE_MASK (~UINT64_C(0xfff))

/* Where an access goes. */
struct target {
	gpa_t physical;
	uint8_t *host; /* NULL: a device */
	bool read_only;
};

static bool tag_is(const _Atomic uint64_t *tag, gva_t page)
{
	return atomic_load_explicit(tag, memory_order_relaxed) == page;
}

static void set_tag(_Atomic uint64_t *tag, uint64_t value)
{
	atomic_store_explicit(tag, value, memory_order_release);
}

static bool smap_suspended(const struct vcpu *vcpu)
{
	return vcpu->cr4 & CR4_SMAP && vcpu->flags_system & RFLAGS_AC;
}

static enum tlb_set data_set(const struct vcpu *vcpu)
{
	if (vcpu->mode.cpl == 3)
		return TLB_USER;
	return smap_suspended(vcpu) ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

static bool alignment_checked(const struct vcpu *vcpu)
{
	return vcpu->mode.cpl == 3 && vcpu->cr0 & CR0_AM && vcpu->flags_system & RFLAGS_AC;
}

void mmu_update_mode(struct vcpu *vcpu)
{
	enum tlb_set data = data_set(vcpu);

	if (alignment_checked(vcpu) || debug_watches_data(vcpu))
		data = TLB_NEVER;
	vcpu->translate.mode = MODE_UNKNOWN;
	vcpu->tlb_data = vcpu->tlb.entries[data];
	vcpu->tlb_code = vcpu->tlb.entries[vcpu->mode.cpl == 3 ? TLB_USER : TLB_SUPERVISOR];
}

static bool looks_each_time(const struct vcpu *vcpu)
{
	return vcpu->tlb_data == vcpu->tlb.entries[TLB_NEVER];
}

/* The local APIC's page hides what the bus has at its address. */
static bool is_apic_page(const struct vcpu *vcpu, gpa_t page)
{
	return page == (vcpu->apic_base & APIC_BASE_ADDRESS) &&
	       (vcpu->apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
}

static unsigned large_hash(gva_t address, unsigned shift)
{
	return (unsigned)(((address >> shift) + shift) * UINT64_C(0x9e3779b97f4a7c15) >>
			  (64 - LARGE_FILTER_BITS));
}

static void note_large(struct tlb *tlb, gva_t address, unsigned shift)
{
	unsigned hash = large_hash(address, shift);

	tlb->large_filter[hash / 64] |= BIT(hash % 64);
}

static bool is_noted(const struct tlb *tlb, gva_t address, unsigned shift)
{
	unsigned hash = large_hash(address, shift);

	return tlb->large_filter[hash / 64] & BIT(hash % 64);
}

static void log_entry(struct vcpu *vcpu, enum tlb_set set, struct tlb_entry *entry)
{
	struct tlb *tlb = &vcpu->tlb;
	_Atomic unsigned *nr_logged;
	unsigned n;

	if (entry->page_shift > 12)
		note_large(tlb, entry->linear, entry->page_shift == 30 ? 30 : 21);
	if (entry->logged[entry->global])
		return;
	entry->logged[entry->global] = true;
	nr_logged = &tlb->nr_logged[entry->global][set];
	n = atomic_load_explicit(nr_logged, memory_order_relaxed);
	atomic_store_explicit(&tlb->log[entry->global][set][n],
		(uint16_t)(entry - tlb->entries[set]), memory_order_relaxed);
	atomic_store_explicit(nr_logged, n + 1, memory_order_release);
}

static void put(struct vcpu *vcpu, enum tlb_set set, const struct tlb_content *content)
{
	struct tlb_entry *entry = &vcpu->tlb.entries[set][tlb_index(content->linear)];

	set_tag(&entry->write_tag, TLB_INVALID);
	atomic_store_explicit(&entry->physical, content->physical, memory_order_relaxed);
	set_tag(&entry->read_tag, content->readable ? content->linear : TLB_INVALID);
	entry->exec_tag = content->executable ? content->linear : TLB_INVALID;
	entry->linear = content->linear;
	entry->addend = content->addend;
	entry->page_shift = content->page_shift;
	entry->global = content->global;
	entry->writable = content->writable;
	entry->device = TLB_NO_DEVICE;
	log_entry(vcpu, set, entry);
	if (!entry->writable)
		return;
	/* Either this thread sees the code that another adds, or that one sees the tag. */
	set_tag(&entry->write_tag, content->linear);
	atomic_thread_fence(memory_order_seq_cst);
	if (code_pages_is_code(vcpu->engine, content->physical))
		set_tag(&entry->write_tag, TLB_INVALID);
}

void mmu_put(struct vcpu *vcpu, enum tlb_set set, const struct tlb_content *content)
{
	if (!tlb_is_used(&vcpu->tlb, set, tlb_index(content->linear)))
		put(vcpu, set, content);
}

static void fill(struct vcpu *vcpu, enum tlb_set set, gva_t address, const struct paging_page *page,
	const struct target *target)
{
	const struct tlb_content content = {
		.linear = address & PAGE_MASK,
		.physical = page->physical,
		.addend = (uint64_t)(uintptr_t)target->host - address,
		.page_shift = page->shift,
		.readable = page->readable,
		.executable = page->executable,
		.writable = page->writable && page->dirty && !target->read_only,
		.global = page->global,
	};

	trace(tlb_fill, address, page->physical, set);
	if (content.writable)
		populate_at(vcpu->engine, page->physical);
	put(vcpu, set, &content);
	if (set == TLB_SUPERVISOR && page->global && page->shift > 12)
		mmu_window_consider(vcpu, address);
}

/* RAM may be shown there later: that flushes. */
static void fill_device(
	struct vcpu *vcpu, enum tlb_set set, gva_t address, const struct paging_page *page)
{
	const struct tlb_content content = {
		.linear = address & PAGE_MASK,
		.physical = page->physical,
		.page_shift = page->shift,
		.global = page->global,
	};
	struct tlb_entry *entry = &vcpu->tlb.entries[set][tlb_index(address)];

	if (!page->readable)
		return;
	put(vcpu, set, &content);
	entry->device = page->writable && page->dirty ? TLB_DEVICE_WRITE : TLB_DEVICE_READ;
}

static bool is_device_entry(const struct tlb_entry *entry, gva_t page, enum mmu_access kind)
{
	return entry->device && entry->linear == page &&
	       (kind == MMU_READ || (kind == MMU_WRITE && entry->device == TLB_DEVICE_WRITE));
}

static bool entry_permits(const struct tlb_entry *entry, gva_t page, enum mmu_access kind)
{
	switch (kind) {
	case MMU_EXECUTE: return entry->exec_tag == page;
	case MMU_WRITE: return entry->writable && entry->linear == page;
	default: return tag_is(&entry->read_tag, page);
	}
}

static struct target resolve_in(
	struct vcpu *vcpu, enum tlb_set set, gva_t address, enum mmu_access kind)
{
	struct tlb_entry *entry = &vcpu->tlb.entries[set][tlb_index(address)];
	struct paging_access access = {
		.kind = kind,
		.user = set == TLB_USER,
		.smap = set == TLB_SUPERVISOR && vcpu->cr4 & CR4_SMAP,
	};
	struct paging_page page;
	struct target target = { 0 };
	uint32_t error;

	if (entry_permits(entry, address & PAGE_MASK, kind)) {
		target.physical = atomic_load_explicit(&entry->physical, memory_order_relaxed) |
				  (address & ~PAGE_MASK);
		target.host = (uint8_t *)(uintptr_t)(address + entry->addend);
		return target;
	}
	if (is_device_entry(entry, address & PAGE_MASK, kind)) {
		target.physical = atomic_load_explicit(&entry->physical, memory_order_relaxed) |
				  (address & ~PAGE_MASK);
		return target;
	}
	vcpu->counters.tlb_misses[kind]++;
	if (!paging_walk(vcpu, address, access, &page, &error))
		cpu_raise_page_fault(vcpu, address, error);
	target.physical = page.physical | (address & ~PAGE_MASK);
	target.host = is_apic_page(vcpu, page.physical)
			      ? NULL
			      : paging_ram(vcpu, target.physical, &target.read_only);
	if (target.host)
		fill(vcpu, set, address, &page, &target);
	else if (kind != MMU_EXECUTE && set != TLB_NEVER)
		fill_device(vcpu, set, address, &page);
	return target;
}

static struct target resolve(struct vcpu *vcpu, gva_t address, enum mmu_access kind)
{
	return resolve_in(vcpu, data_set(vcpu), address, kind);
}

/* The byte after a page. Linear addresses outside 64-bit mode wrap at 4 GiB, but for those of the
 * system's own tables and stacks in long mode. */
static gva_t next_page(const struct vcpu *vcpu, gva_t address)
{
	gva_t next = (address & PAGE_MASK) + GUEST_PAGE_SIZE;
	bool wide = vcpu->mode.insn == INSN_MODE_64 || address >> 32;

	return wide ? next : (uint32_t)next;
}

static unsigned left_in_page(gva_t address)
{
	return GUEST_PAGE_SIZE - (address & ~PAGE_MASK);
}

static uint64_t apic_read(struct vcpu *vcpu, gpa_t physical, unsigned size)
{
	unsigned offset = physical & ~PAGE_MASK;

	return apic_mmio_read(vcpu, offset & ~3u) >> 8 * (offset & 3) & byte_mask(size);
}

static uint64_t device_read(struct vcpu *vcpu, gpa_t physical, unsigned size)
{
	vcpu->counters.device_accesses++;
	vector_leave(vcpu);
	if (is_apic_page(vcpu, physical & PAGE_MASK))
		return apic_read(vcpu, physical, size);
	if (vcpu->smm)
		return machine_mmio_read_smm(vcpu->machine, physical, size) & byte_mask(size);
	return machine_mmio_read(vcpu->machine, physical, size) & byte_mask(size);
}

/* The APIC takes aligned 32-bit writes; others are undefined (SDM 3A 11.4.1) and ignored. */
static void device_write(struct vcpu *vcpu, gpa_t physical, unsigned size, uint64_t value)
{
	vcpu->counters.device_accesses++;
	vector_leave(vcpu);
	if (!is_apic_page(vcpu, physical & PAGE_MASK))
		(vcpu->smm ? machine_mmio_write_smm : machine_mmio_write)(
			vcpu->machine, physical, size, value & byte_mask(size));
	else if (size == 4 && physical % 4 == 0)
		apic_mmio_write(vcpu, physical & ~PAGE_MASK, (uint32_t)value);
	/* The next instruction may be somewhere else. */
	if (atomic_load_explicit(&vcpu->requests, memory_order_relaxed) & REQUEST_FLUSH_TLB)
		vcpu->run_end = NULL;
}

static uint64_t load(struct vcpu *vcpu, const struct target *target, unsigned size)
{
	return target->host ? host_load(target->host, size)
			    : device_read(vcpu, target->physical, size);
}

static void store(struct vcpu *vcpu, const struct target *target, unsigned size, uint64_t value)
{
	if (!target->host) {
		device_write(vcpu, target->physical, size, value);
		return;
	}
	if (target->read_only) {
		device_write(vcpu, target->physical, size, value);
		return;
	}
	host_store(target->host, size, value);
	if (code_pages_written(vcpu->engine, target->physical, size))
		vcpu->run_end = NULL;
}

/* One byte of an access that started at `first` and goes on at `second` after `split` bytes. */
static struct target byte_of(
	const struct target *first, const struct target *second, unsigned split, unsigned n)
{
	const struct target *part = n < split ? first : second;
	unsigned at = n < split ? n : n - split;

	return (struct target){ .physical = part->physical + at,
		.host = part->host ? part->host + at : NULL,
		.read_only = part->read_only };
}

static uint64_t read_crossing(struct vcpu *vcpu, enum tlb_set set, gva_t address, unsigned size)
{
	struct target first = resolve_in(vcpu, set, address, MMU_READ);
	struct target second = resolve_in(vcpu, set, next_page(vcpu, address), MMU_READ);
	unsigned split = left_in_page(address);
	uint64_t value = 0;

	for (unsigned n = 0; n < size; n++) {
		struct target byte = byte_of(&first, &second, split, n);

		value |= load(vcpu, &byte, 1) << 8 * n;
	}
	return value;
}

static void write_crossing(
	struct vcpu *vcpu, enum tlb_set set, gva_t address, unsigned size, uint64_t value)
{
	struct target first = resolve_in(vcpu, set, address, MMU_WRITE);
	struct target second = resolve_in(vcpu, set, next_page(vcpu, address), MMU_WRITE);
	unsigned split = left_in_page(address);

	for (unsigned n = 0; n < size; n++) {
		struct target byte = byte_of(&first, &second, split, n);

		store(vcpu, &byte, 1, value >> 8 * n);
	}
}

static void check_alignment(struct vcpu *vcpu, gva_t address, unsigned size)
{
	if (address & (size - 1) && alignment_checked(vcpu))
		cpu_raise_error(vcpu, X86_AC, 0);
}

uint64_t mmu_read_slow(struct vcpu *vcpu, gva_t address, unsigned size)
{
	struct target target;
	uint64_t value;

	check_alignment(vcpu, address, size);
	if (size > left_in_page(address)) {
		value = read_crossing(vcpu, data_set(vcpu), address, size);
	} else {
		target = resolve(vcpu, address, MMU_READ);
		value = load(vcpu, &target, size);
	}
	if (looks_each_time(vcpu))
		debug_data_access(vcpu, address, size, MMU_READ);
	return value;
}

void mmu_write_slow(struct vcpu *vcpu, gva_t address, unsigned size, uint64_t value)
{
	struct target target;

	check_alignment(vcpu, address, size);
	if (size > left_in_page(address)) {
		write_crossing(vcpu, data_set(vcpu), address, size, value);
	} else {
		target = resolve(vcpu, address, MMU_WRITE);
		/* Its page has no code: the tag that was just filled says so. */
		if (tag_is(&vcpu->tlb_data[tlb_index(address)].write_tag, address & PAGE_MASK))
			host_store(target.host, size, value);
		else
			store(vcpu, &target, size, value);
	}
	if (looks_each_time(vcpu))
		debug_data_access(vcpu, address, size, MMU_WRITE);
}

static bool is_direct(const struct vcpu *vcpu, gva_t address, enum mmu_access access)
{
	const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];

	return tag_is(
		access == MMU_WRITE ? &entry->write_tag : &entry->read_tag, address & PAGE_MASK);
}

enum mmu_fill mmu_fill(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access)
{
	enum tlb_set set = data_set(vcpu);
	struct paging_access kind = {
		.kind = access,
		.user = set == TLB_USER,
		.smap = set == TLB_SUPERVISOR && vcpu->cr4 & CR4_SMAP,
	};
	struct paging_page page;
	struct target target = { 0 };
	uint32_t error;

	if (size > left_in_page(address) || looks_each_time(vcpu) ||
		is_direct(vcpu, address, access) ||
		is_device_entry(&vcpu->tlb_data[tlb_index(address)], address & PAGE_MASK, access))
		return MMU_NOT_DIRECT;
	if (!x86_is_canonical(address) || !paging_walk(vcpu, address, kind, &page, &error))
		return MMU_RAISES;
	vcpu->counters.tlb_misses[access]++;
	target.physical = page.physical | (address & ~PAGE_MASK);
	if (!is_apic_page(vcpu, page.physical))
		target.host = paging_ram(vcpu, target.physical, &target.read_only);
	if (!target.host)
		return MMU_NOT_DIRECT;
	fill(vcpu, set, address, &page, &target);
	return is_direct(vcpu, address, access) ? MMU_FILLED : MMU_NOT_DIRECT;
}

static void probe(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access kind)
{
	resolve(vcpu, address, kind);
	while (size > left_in_page(address)) {
		size -= left_in_page(address);
		address = next_page(vcpu, address);
		resolve(vcpu, address, kind);
	}
}

void mmu_probe_write(struct vcpu *vcpu, gva_t address, unsigned size)
{
	if (size == 2 || size == 4 || size == 8)
		check_alignment(vcpu, address, size);
	probe(vcpu, address, size, MMU_WRITE);
}

void mmu_probe_read(struct vcpu *vcpu, gva_t address, unsigned size)
{
	if (size == 2 || size == 4 || size == 8)
		check_alignment(vcpu, address, size);
	probe(vcpu, address, size, MMU_READ);
}

void mmu_read(struct vcpu *vcpu, gva_t address, void *to, unsigned size)
{
	uint8_t *bytes = to;

	probe(vcpu, address, size, MMU_READ);
	if (looks_each_time(vcpu))
		debug_data_access(vcpu, address, size, MMU_READ);
	while (size > 0) {
		struct target target = resolve(vcpu, address, MMU_READ);
		unsigned chunk = left_in_page(address) < size ? left_in_page(address) : size;

		if (target.host)
			host_copy(bytes, target.host, chunk);
		else
			for (unsigned n = 0; n < chunk; n++)
				bytes[n] = device_read(vcpu, target.physical + n, 1);
		bytes += chunk;
		size -= chunk;
		address = next_page(vcpu, address);
	}
}

void mmu_write(struct vcpu *vcpu, gva_t address, const void *from, unsigned size)
{
	const uint8_t *bytes = from;

	probe(vcpu, address, size, MMU_WRITE);
	if (looks_each_time(vcpu))
		debug_data_access(vcpu, address, size, MMU_WRITE);
	while (size > 0) {
		struct target target = resolve(vcpu, address, MMU_WRITE);
		unsigned chunk = left_in_page(address) < size ? left_in_page(address) : size;

		if (!target.host || target.read_only) {
			for (unsigned n = 0; n < chunk; n++)
				device_write(vcpu, target.physical + n, 1, bytes[n]);
		} else {
			host_copy(target.host, bytes, chunk);
			if (code_pages_written(vcpu->engine, target.physical, chunk))
				vcpu->run_end = NULL;
		}
		bytes += chunk;
		size -= chunk;
		address = next_page(vcpu, address);
	}
}

/* Runs of more than an operand are left to the caller's loop while accesses are looked at. */
#define MAX_OPERAND 32

void *mmu_pointer(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access)
{
	const struct tlb_entry *entry = &vcpu->tlb_data[tlb_index(address)];
	const _Atomic uint64_t *tag = access == MMU_WRITE ? &entry->write_tag : &entry->read_tag;
	struct target target;

	if (size > left_in_page(address))
		return NULL;
	if (tag_is(tag, address & PAGE_MASK))
		return (void *)(uintptr_t)(address + entry->addend);
	if (size == 2 || size == 4 || size == 8)
		check_alignment(vcpu, address, size);
	if (looks_each_time(vcpu) && size > MAX_OPERAND)
		return NULL;
	target = resolve(vcpu, address, access);
	if (access == MMU_WRITE &&
		(target.read_only || code_pages_is_code(vcpu->engine, target.physical)))
		return NULL;
	if (target.host && looks_each_time(vcpu))
		debug_data_access(vcpu, address, size, access);
	return target.host;
}

uint64_t mmu_system_read(struct vcpu *vcpu, gva_t address, unsigned size)
{
	const struct tlb_entry *entry = &vcpu->tlb.entries[TLB_SUPERVISOR][tlb_index(address)];
	struct target target;

	if (mmu_tag_matches(
		    atomic_load_explicit(&entry->read_tag, memory_order_relaxed), address, size))
		return host_load((const void *)(uintptr_t)(address + entry->addend), size);
	if (size > left_in_page(address))
		return read_crossing(vcpu, TLB_SUPERVISOR, address, size);
	target = resolve_in(vcpu, TLB_SUPERVISOR, address, MMU_READ);
	return load(vcpu, &target, size);
}

void mmu_system_write(struct vcpu *vcpu, gva_t address, unsigned size, uint64_t value)
{
	const struct tlb_entry *entry = &vcpu->tlb.entries[TLB_SUPERVISOR][tlb_index(address)];
	struct target target;

	if (mmu_tag_matches(
		    atomic_load_explicit(&entry->write_tag, memory_order_relaxed), address, size)) {
		host_store((void *)(uintptr_t)(address + entry->addend), size, value);
		return;
	}
	if (size > left_in_page(address)) {
		write_crossing(vcpu, TLB_SUPERVISOR, address, size, value);
		return;
	}
	target = resolve_in(vcpu, TLB_SUPERVISOR, address, MMU_WRITE);
	store(vcpu, &target, size, value);
}

void mmu_system_probe_write(struct vcpu *vcpu, gva_t address, unsigned size)
{
	resolve_in(vcpu, TLB_SUPERVISOR, address, MMU_WRITE);
	if (size > left_in_page(address))
		resolve_in(vcpu, TLB_SUPERVISOR, next_page(vcpu, address), MMU_WRITE);
}

static enum tlb_set code_set(const struct vcpu *vcpu)
{
	return vcpu->mode.cpl == 3 ? TLB_USER : TLB_SUPERVISOR;
}

const uint8_t *mmu_fetch(struct vcpu *vcpu, gva_t address, gpa_t *physical, unsigned *available)
{
	struct target target = resolve_in(vcpu, code_set(vcpu), address, MMU_EXECUTE);

	*physical = target.physical;
	*available = left_in_page(address);
	return target.host;
}

uint8_t mmu_fetch_slow(struct vcpu *vcpu, gva_t address)
{
	struct target target = resolve_in(vcpu, code_set(vcpu), address, MMU_EXECUTE);

	return (uint8_t)load(vcpu, &target, 1);
}

bool mmu_translate(struct vcpu *vcpu, gva_t address, gpa_t *physical)
{
	return paging_look(vcpu, address, physical);
}

bool mmu_physical_write(struct vcpu *vcpu, gpa_t address, const void *from, unsigned size)
{
	bool read_only;
	uint8_t *host = paging_ram(vcpu, address, &read_only);

	if (!host || read_only || size > left_in_page(address))
		return false;
	host_copy(host, from, size);
	if (code_pages_written(vcpu->engine, address, size))
		vcpu->run_end = NULL;
	return true;
}

static void clear_entry(struct tlb_entry *entry)
{
	set_tag(&entry->write_tag, TLB_INVALID);
	set_tag(&entry->read_tag, TLB_INVALID);
	entry->exec_tag = TLB_INVALID;
	entry->linear = TLB_INVALID;
	entry->device = TLB_NO_DEVICE;
	atomic_store_explicit(&entry->physical, TLB_INVALID, memory_order_relaxed);
}

/* Page 0 has the index 0, so zeros mean nothing in other entries. */
void mmu_init(struct vcpu *vcpu)
{
	for (unsigned set = 0; set < TLB_NR_SETS; set++)
		clear_entry(&vcpu->tlb.entries[set][0]);
}

/* Clears the entries of a log, but for those that are global now if these are kept. */
static void flush_log(struct tlb *tlb, bool global, enum tlb_set set, bool keep_global)
{
	unsigned count = tlb->nr_logged[global][set];

	for (unsigned n = 0; n < count; n++) {
		struct tlb_entry *entry = tlb_logged(tlb, global, set, n);

		entry->logged[global] = false;
		if (!(keep_global && entry->global))
			clear_entry(entry);
	}
	tlb->nr_logged[global][set] = 0;
}

static void flush(struct vcpu *vcpu, bool keep_global)
{
	struct tlb *tlb = &vcpu->tlb;

	vcpu->direct_flushes++;
	trace(tlb_flush, keep_global);
	translate_forget_mappings(vcpu, keep_global);
	for (unsigned set = 0; set < TLB_NEVER; set++) {
		flush_log(tlb, false, set, keep_global);
		if (!keep_global)
			flush_log(tlb, true, set, false);
	}
	if (keep_global)
		return;
	mmu_window_close(vcpu);
	for (unsigned n = 0; n < ARRAY_SIZE(tlb->large_filter); n++)
		tlb->large_filter[n] = 0;
}

void mmu_flush_all(struct vcpu *vcpu)
{
	mmu_space_forget_others(vcpu);
	flush(vcpu, false);
}

void mmu_flush_non_global(struct vcpu *vcpu)
{
	flush(vcpu, true);
}

static bool may_be_large(const struct tlb *tlb, gva_t address)
{
	/* A 4 MiB page is noted by the 2 MiB half that was used. */
	return is_noted(tlb, address, 21) || is_noted(tlb, address ^ BIT(21), 21) ||
	       is_noted(tlb, address, 30);
}

/* INVLPG invalidates the whole page that maps the address, whatever its size. */
static void flush_large(struct tlb *tlb, bool global, enum tlb_set set, gva_t address)
{
	unsigned count = tlb->nr_logged[global][set];

	for (unsigned n = 0; n < count; n++) {
		struct tlb_entry *entry = tlb_logged(tlb, global, set, n);

		if (entry->linear != TLB_INVALID &&
			(entry->linear ^ address) >> entry->page_shift == 0)
			clear_entry(entry);
	}
}

void mmu_flush_page(struct vcpu *vcpu, gva_t address)
{
	struct tlb *tlb = &vcpu->tlb;
	bool large = may_be_large(tlb, address);

	vcpu->direct_flushes++;
	trace(tlb_flush_page, address);
	mmu_window_flush_page(vcpu, address);
	if (large)
		translate_forget_mappings(vcpu, false);
	else
		translate_forget_page(vcpu, address);
	for (unsigned set = 0; set < TLB_NEVER; set++) {
		struct tlb_entry *entry = &tlb->entries[set][tlb_index(address)];

		if (entry->linear == (address & PAGE_MASK))
			clear_entry(entry);
		if (!large)
			continue;
		flush_large(tlb, false, set, address);
		flush_large(tlb, true, set, address);
	}
}
