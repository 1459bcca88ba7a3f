/* When a changed translation must take effect: SDM 3A 4.10.4. */
#include "payload.h"

#define WINDOW 0x8000000000ull
#define ALL    (PTE_P | PTE_W | PTE_U)

static u64 *table; /* the page table of the window's first 2 MiB */
static u32 *one, *two;

static volatile u32 *window(unsigned page)
{
	return (volatile u32 *)(word)(WINDOW + page * PAGE_SIZE);
}

static void map(unsigned index, void *page, u64 flags)
{
	table[index] = (word)page | flags;
	barrier();
}

static void make_window(u64 *root)
{
	u64 *pointers = page_alloc(), *directory = page_alloc();

	table = page_alloc();
	root[1] = (word)pointers | ALL;
	pointers[0] = (word)directory | ALL;
	directory[0] = (word)table | ALL;
}

static void read_it(void *address)
{
	(void)*(volatile u32 *)address;
}

static void write_it(void *address)
{
	*(volatile u32 *)address = 3;
}

static void invalidation(void)
{
	map(0, one, ALL);
	check_equal(*window(0), 1, "the first translation");
	map(0, two, ALL);
	invlpg((void *)WINDOW);
	check_equal(*window(0), 2, "INVLPG drops a translation");
	map(0, one, ALL);
	invlpg((void *)(WINDOW + 0xabc));
	check_equal(*window(0), 1, "INVLPG by any address of the page");
	map(0, two, ALL);
	write_cr3(read_cr3());
	check_equal(*window(0), 2, "MOV to CR3 drops translations");
	map(0, NULL, 0);
	invlpg((void *)WINDOW);
	check_page_fault(attempt(read_it, (void *)WINDOW), 0, WINDOW, "an unmapped page");
	/* What is not present is not cached. */
	map(0, one, ALL);
	check_equal(*window(0), 1, "a page made present needs no invalidation");
	map(0, one, PTE_P);
	invlpg((void *)WINDOW);
	check_equal(*window(0), 1, "read through a read-only translation");
	map(0, one, ALL);
	check_trap(attempt(write_it, (void *)WINDOW), NO_TRAP, 0,
		"a right given needs no invalidation: the fault is spurious at most");
	*one = 1;
}

static void global_pages(void)
{
	if (!(cpuid(1, 0).edx & BIT(13))) {
		skip("global pages", "not in CPUID");
		return;
	}
	write_cr4(read_cr4() | CR4_PGE);
	map(1, one, ALL | PTE_G);
	check_equal(*window(1), 1, "a global page");
	map(1, two, ALL | PTE_G);
	invlpg((void *)(WINDOW + PAGE_SIZE));
	check_equal(*window(1), 2, "INVLPG drops a global translation");
	map(1, one, ALL | PTE_G);
	write_cr4(read_cr4() & ~CR4_PGE);
	check_equal(*window(1), 1, "clearing CR4.PGE drops global translations");
	write_cr4(read_cr4() | CR4_PGE);
	check_equal(*window(1), 1, "after setting it again");
	map(1, two, ALL | PTE_G);
	write_cr4(read_cr4() & ~CR4_PGE);
	write_cr4(read_cr4() | CR4_PGE);
	check_equal(*window(1), 2, "toggling CR4.PGE drops global translations");
	map(1, one, ALL);
	write_cr0(read_cr0() & ~CR0_WP);
	write_cr4(read_cr4() & ~CR4_PGE);
	check_equal(*window(1), 1, "without PGE");
	write_cr0(read_cr0() | CR0_WP);
}

static void structure_caches(void)
{
	u64 *directory =
		(u64 *)(word)(*(u64 *)(word)(((u64 *)(word)read_cr3())[1] & ~0xfffull) & ~0xfffull);
	u64 *other = page_alloc();

	map(2, one, ALL);
	other[2] = (word)two | ALL;
	check_equal(*window(2), 1, "before the table is replaced");
	directory[0] = (word)other | ALL;
	invlpg((void *)(WINDOW + 2 * PAGE_SIZE));
	check_equal(*window(2), 2, "INVLPG drops cached paging structures");
	directory[0] = (word)table | ALL;
	write_cr3(read_cr3());
	check_equal(*window(2), 1, "MOV to CR3 drops cached paging structures");
	/* A 2 MiB page in place of a table, and back. */
	directory[0] = 0x600000 | ALL | PTE_PS;
	invlpg((void *)WINDOW);
	check_equal(*(volatile u32 *)(word)(WINDOW + (word)one - 0x600000), 1,
		"a large page in place of a table");
	directory[0] = (word)table | ALL;
	write_cr3(read_cr3());
	check_equal(*window(2), 1, "a table in place of a large page");
}

struct invpcid_descriptor {
	u64 pcid, address;
};

static void invpcid(u64 type, u64 pcid, u64 address)
{
	struct invpcid_descriptor descriptor = { pcid, address };

	asm volatile("invpcid %0, %1" ::"m"(descriptor), "r"(type) : "memory");
}

static void set_pcide_with_pcid(void *root)
{
	write_cr3((word)root | 5);
	write_cr4(read_cr4() | CR4_PCIDE);
}

static void invpcid_bad_type(void *unused)
{
	(void)unused;
	invpcid(4, 0, 0);
}

static void invpcid_reserved_pcid(void *unused)
{
	(void)unused;
	invpcid(1, 0x1000, 0);
}

static void invpcid_bad_address(void *unused)
{
	(void)unused;
	invpcid(0, 1, 0x800000000000);
}

static void clear_paging(void *unused)
{
	(void)unused;
	write_cr0(read_cr0() & ~CR0_PG);
}

static void process_contexts(void)
{
	u64 *first_table = table, *second;
	word first = read_cr3();
	bool has_invpcid = cpuid(7, 0).ebx & BIT(10);

	if (!(cpuid(1, 0).ecx & BIT(17))) {
		skip("PCID", "not in CPUID");
		return;
	}
	check_trap(attempt(set_pcide_with_pcid, (void *)first), GP, 0,
		"CR4.PCIDE with a PCID in CR3 that is not 0");
	write_cr3(first);
	write_cr4(read_cr4() | CR4_PCIDE);
	check_trap(attempt(clear_paging, NULL), GP, 0, "clearing CR0.PG under CR4.PCIDE");

	second = page_alloc();
	memcpy(second, (void *)first, PAGE_SIZE);
	make_window(second);
	map(3, two, ALL);
	write_cr3(first);
	table = first_table;
	map(3, one, ALL);
	check_equal(*window(3), 1, "PCID 0");
	write_cr3((word)second | 1);
	check_equal(*window(3), 2, "PCID 1");
	write_cr3(first | BIT(63));
	check_equal(*window(3), 1, "PCID 0 again, nothing dropped");
	write_cr3((word)second | 1 | BIT(63));
	check_equal(*window(3), 2, "PCID 1 again, nothing dropped");
	check_equal(read_cr3(), (word)second | 1, "bit 63 of CR3 reads 0");

	/* A change while the other context runs. */
	map(3, two, ALL);
	write_cr3(first);
	check_equal(*window(3), 2, "MOV to CR3 without bit 63 drops what its PCID has");
	invlpg((void *)window(3));
	if (!has_invpcid) {
		skip("INVPCID", "not in CPUID");
		goto out;
	}
	map(3, one, ALL);
	invpcid(0, 0, (word)window(3));
	check_equal(*window(3), 1, "INVPCID of one address");
	map(3, two, ALL);
	invpcid(1, 0, 0);
	check_equal(*window(3), 2, "INVPCID of one context");
	map(3, one, ALL);
	invpcid(2, 0, 0);
	check_equal(*window(3), 1, "INVPCID of everything");
	map(3, two, ALL);
	invpcid(3, 0, 0);
	check_equal(*window(3), 2, "INVPCID of everything but global");
	/* From afar: context 0 is changed while context 1 runs. */
	write_cr3((word)second | 1 | BIT(63));
	map(3, one, ALL);
	invpcid(1, 0, 0);
	write_cr3(first | BIT(63));
	check_equal(*window(3), 1, "INVPCID of another context");
	check_trap(attempt(invpcid_bad_type, NULL), GP, 0, "INVPCID type 4");
	check_trap(attempt(invpcid_reserved_pcid, NULL), GP, 0, "INVPCID reserved descriptor bits");
	check_trap(attempt(invpcid_bad_address, NULL), GP, 0, "INVPCID non-canonical address");
out:
	write_cr3(first);
	write_cr4(read_cr4() & ~CR4_PCIDE);
	check(true, "PCIDE cleared");
}

static void USER_CODE user_invalidates(void *unused)
{
	(void)unused;
	asm volatile("invlpg (%0)" ::"r"(0x400000) : "memory");
	user_exit();
}

void payload(void)
{
	write_cr0(read_cr0() | CR0_WP);
	make_window((u64 *)(word)read_cr3());
	one = page_alloc();
	two = page_alloc();
	*one = 1;
	*two = 2;
	invalidation();
	global_pages();
	structure_caches();
	process_contexts();
	invlpg((void *)0x800000000000);
	ok("INVLPG of a non-canonical address does nothing");
	check_trap(attempt_user(user_invalidates, NULL), GP, 0, "INVLPG in ring 3");
}
