/* 4-level paging: SDM 3A 4.5 to 4.8. */
#include "payload.h"

#define WINDOW                0x8000000000ull /* the second PML4 entry; nothing else is there */
#define ADDRESS               (WINDOW + 0x12345678)
#define ENTRY(address, level) ((address) >> (12 + 9 * ((level)-1)) & 511)
#define BASE(entry)           ((entry)&0x000ffffffffff000ull)
#define ALL                   (PTE_P | PTE_W | PTE_U)

/* The tables that map ADDRESS: tables[4] is the root, tables[1] holds the page's entry. */
static u64 *tables[5];
static u8 *page;

static u64 *entry_of(int level)
{
	return &tables[level][ENTRY(ADDRESS, level)];
}

static void make_tables(void)
{
	tables[4] = (u64 *)(word)read_cr3();
	for (int level = 3; level >= 1; level--) {
		tables[level] = page_alloc();
		*entry_of(level + 1) = (word)tables[level] | ALL;
	}
	page = page_alloc();
}

/* Maps ADDRESS with everything allowed; then the test takes something away. */
static void map_all(void)
{
	for (int level = 4; level >= 2; level--)
		*entry_of(level) = (word)tables[level - 1] | ALL;
	*entry_of(1) = (word)page | ALL;
	write_cr3(read_cr3());
}

static void take(int level, u64 bits)
{
	map_all();
	*entry_of(level) &= ~bits;
	write_cr3(read_cr3());
}

static void give(int level, u64 bits)
{
	map_all();
	*entry_of(level) |= bits;
	write_cr3(read_cr3());
}

static void read_it(void *address)
{
	u32 value;

	asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
}

static void write_it(void *address)
{
	asm volatile("movl $0x55, (%0)" ::"r"(address) : "memory");
}

static void call_it(void *address)
{
	asm volatile("call *%0" ::"r"(address) : "memory");
}

static void USER_CODE user_read(void *address)
{
	u32 value;

	asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
	user_exit();
}

static void USER_CODE user_write(void *address)
{
	asm volatile("movl $0x55, (%0)" ::"r"(address) : "memory");
	user_exit();
}

static void USER_CODE user_call(void *address)
{
	asm volatile("call *%0" ::"r"(address) : "memory");
	user_exit();
}

static void *const target = (void *)ADDRESS;

static void faults_at_each_level(void)
{
	static const char *const absent[] = { "", "PTE not present", "PDE not present",
		"PDPTE not present", "PML4E not present" };
	static const char *const read_only[] = { "", "PTE read-only", "PDE read-only",
		"PDPTE read-only", "PML4E read-only" };
	static const char *const supervisor[] = { "", "PTE supervisor", "PDE supervisor",
		"PDPTE supervisor", "PML4E supervisor" };
	static const char *const no_execute[] = { "", "PTE no-execute", "PDE no-execute",
		"PDPTE no-execute", "PML4E no-execute" };

	for (int level = 1; level <= 4; level++) {
		take(level, PTE_P);
		check_page_fault(attempt(read_it, target), 0, ADDRESS, absent[level]);
		check_page_fault(attempt(write_it, target), PF_W, ADDRESS, absent[level]);
		check_page_fault(attempt(call_it, target), PF_I, ADDRESS, absent[level]);
		check_page_fault(attempt_user(user_read, target), PF_U, ADDRESS, absent[level]);
		check_page_fault(
			attempt_user(user_write, target), PF_U | PF_W, ADDRESS, absent[level]);
		check_page_fault(
			attempt_user(user_call, target), PF_U | PF_I, ADDRESS, absent[level]);

		take(level, PTE_W);
		check_trap(attempt(read_it, target), NO_TRAP, 0, read_only[level]);
		check_page_fault(attempt(write_it, target), PF_P | PF_W, ADDRESS, read_only[level]);
		check_page_fault(attempt_user(user_write, target), PF_P | PF_W | PF_U, ADDRESS,
			read_only[level]);
		check_trap(attempt_user(user_read, target), USER_EXIT, 0, read_only[level]);

		take(level, PTE_U);
		check_trap(attempt(write_it, target), NO_TRAP, 0, supervisor[level]);
		check_page_fault(
			attempt_user(user_read, target), PF_P | PF_U, ADDRESS, supervisor[level]);
		check_page_fault(attempt_user(user_write, target), PF_P | PF_U | PF_W, ADDRESS,
			supervisor[level]);
		check_page_fault(attempt_user(user_call, target), PF_P | PF_U | PF_I, ADDRESS,
			supervisor[level]);

		give(level, PTE_NX);
		check_trap(attempt(write_it, target), NO_TRAP, 0, no_execute[level]);
		check_page_fault(attempt(call_it, target), PF_P | PF_I, ADDRESS, no_execute[level]);
		check_page_fault(attempt_user(user_call, target), PF_P | PF_I | PF_U, ADDRESS,
			no_execute[level]);
	}
}

static void write_protect(void)
{
	take(1, PTE_W);
	write_cr0(read_cr0() & ~CR0_WP);
	check_trap(attempt(write_it, target), NO_TRAP, 0, "CR0.WP clear: ring 0 writes anywhere");
	check_page_fault(attempt_user(user_write, target), PF_P | PF_W | PF_U, ADDRESS,
		"CR0.WP clear: ring 3 does not");
	write_cr0(read_cr0() | CR0_WP);
	check_page_fault(
		attempt(write_it, target), PF_P | PF_W, ADDRESS, "CR0.WP set again takes effect");
}

static void accessed_and_dirty(void)
{
	bool all = true, dirty = false;

	map_all();
	attempt(read_it, target);
	for (int level = 1; level <= 4; level++)
		all &= !!(*entry_of(level) & PTE_A);
	check(all, "a read sets A at all levels");
	check(!(*entry_of(1) & PTE_D), "a read leaves D clear");
	attempt(write_it, target);
	check(*entry_of(1) & PTE_D, "a write after a read sets D");
	for (int level = 2; level <= 4; level++)
		dirty |= !!(*entry_of(level) & PTE_D);
	check(!dirty, "D is not set in entries that point at tables");

	*entry_of(1) &= ~(PTE_A | PTE_D);
	invlpg(target);
	attempt(write_it, target);
	check((*entry_of(1) & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "INVLPG: A and D are set again");

	take(1, PTE_W);
	attempt(write_it, target);
	check(!(*entry_of(1) & PTE_D), "a write that faults leaves D clear");

	map_all();
	attempt_user(user_write, target);
	check((*entry_of(1) & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "ring 3 sets A and D");
}

static void reserved_bits(void)
{
	struct cpuid sizes = cpuid(0x80000008, 0);
	unsigned width = sizes.eax & 0xff;
	bool gigabyte = cpuid(0x80000001, 0).edx & BIT(26);

	if (width < 52) {
		for (int level = 1; level <= 4; level++) {
			give(level, BIT(51));
			check_page_fault(attempt(read_it, target), PF_P | PF_R, ADDRESS,
				"reserved physical-address bit");
			check_page_fault(attempt(write_it, target), PF_P | PF_R | PF_W, ADDRESS,
				"reserved physical-address bit, write");
		}
	}
	give(4, PTE_PS);
	check_page_fault(attempt(read_it, target), PF_P | PF_R, ADDRESS, "PS in a PML4E");
	if (!gigabyte) {
		give(3, PTE_PS);
		check_page_fault(attempt(read_it, target), PF_P | PF_R, ADDRESS,
			"PS in a PDPTE without 1 GiB pages");
	}
	map_all();
	*entry_of(2) = 0x600000 | 0x2000 | ALL | PTE_PS;
	write_cr3(read_cr3());
	check_page_fault(
		attempt(read_it, target), PF_P | PF_R, ADDRESS, "2 MiB page with address bit 13");
	/* An entry that is not present has no reserved bits. */
	map_all();
	*entry_of(1) = BIT(51);
	write_cr3(read_cr3());
	check_page_fault(attempt(read_it, target), 0, ADDRESS, "reserved bit in an absent entry");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
	give(1, PTE_NX);
	check_page_fault(attempt(read_it, target), PF_P | PF_R, ADDRESS, "NX without EFER.NXE");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	map_all();
}

static void large_pages(void)
{
	u8 *low = page_alloc();
	u64 frame = (word)low & ~0x1fffffull;

	map_all();
	*entry_of(2) = frame | ALL | PTE_PS;
	write_cr3(read_cr3());
	*(volatile u32 *)(word)(((ADDRESS) & ~0x1fffffull) + ((word)low & 0x1fffff)) = 0x1234;
	check_equal(*(u32 *)low, 0x1234, "2 MiB page: address");
	check((*entry_of(2) & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "2 MiB page: A and D");
	*entry_of(2) = frame | PTE_P | PTE_PS;
	invlpg(target);
	check_page_fault(attempt(write_it, target), PF_P | PF_W, ADDRESS, "2 MiB page: read-only");

	if (!(cpuid(0x80000001, 0).edx & BIT(26))) {
		skip("1 GiB page", "no PDPE1GB in CPUID");
	} else {
		map_all();
		*entry_of(3) = ALL | PTE_PS;
		write_cr3(read_cr3());
		check_equal(*(volatile u32 *)(word)((ADDRESS & ~0x3fffffffull) + (word)low), 0x1234,
			"1 GiB page: address");
		*entry_of(3) = PTE_P | PTE_PS | PTE_NX;
		write_cr3(read_cr3());
		check_page_fault(attempt_user(user_read, target), PF_P | PF_U, ADDRESS,
			"1 GiB page: supervisor");
		check_page_fault(
			attempt(call_it, target), PF_P | PF_I, ADDRESS, "1 GiB page: no-execute");
	}
	map_all();
}

static void write_pair(void *address)
{
	asm volatile("movq %1, (%0)" ::"r"(address), "r"(0x1122334455667788ull) : "memory");
}

static void crossing(void)
{
	word edge = (ADDRESS & ~0xfffull) + 0x1000;
	u64 *next = entry_of(1) + 1;

	map_all();
	*next = 0;
	invlpg((void *)edge);
	*(volatile u32 *)(edge - 4) = 0xabcdef;
	check_page_fault(attempt(write_pair, (void *)(edge - 4)), PF_W, edge,
		"a write into an absent second page names that page");
	check_equal(*(volatile u32 *)(edge - 4), 0xabcdef, "and changes nothing in the first");
	*next = (word)page_alloc() | PTE_P;
	check_page_fault(attempt(write_pair, (void *)(edge - 4)), PF_W | PF_P, edge,
		"a write into a read-only second page");
	*next |= PTE_W;
	invlpg((void *)edge);
	check_trap(attempt(write_pair, (void *)(edge - 4)), NO_TRAP, 0, "a write across pages");
	check_equal(*(volatile u64 *)(edge - 4), 0x1122334455667788ull, "its value");
	*entry_of(1) = 0;
	invlpg((void *)(edge - 1));
	check_page_fault(attempt(write_pair, (void *)(edge - 4)), PF_W, edge - 4,
		"a write from an absent first page");
	*next = 0;
	map_all();
}

static void fetch_across(void)
{
	word edge = (ADDRESS & ~0xfffull) + 0x1000;
	u8 *second = page_alloc();
	static const u8 code[] = { 0x48, 0xc7, 0xc0, 0x78, 0x56, 0x34, 0x12, 0xc3 };
	u64 *next = entry_of(1) + 1;
	u64 result;

	map_all();
	memcpy(page + 0xffc, code, 4);
	memcpy(second, code + 4, 4);
	*next = 0;
	invlpg((void *)edge);
	check_page_fault(attempt(call_it, (void *)(edge - 4)), PF_I, edge,
		"an instruction that goes on in an absent page");
	check_equal(last_trap.rip, edge - 4, "RIP is at its start");
	*next = (word)second | PTE_P | PTE_NX;
	invlpg((void *)edge);
	check_page_fault(attempt(call_it, (void *)(edge - 4)), PF_I | PF_P, edge,
		"an instruction that goes on in a no-execute page");
	*next = (word)second | PTE_P;
	invlpg((void *)edge);
	asm volatile("call *%1" : "=a"(result) : "r"(edge - 4) : "memory");
	check_equal(result, 0x12345678, "an instruction across pages");
	*next = 0;
	memset(page, 0xc3, 4096);
	invlpg((void *)edge);
}

static void canonical(void)
{
	check_trap(attempt(read_it, (void *)0x800000000000), GP, 0, "non-canonical read");
	check_trap(attempt(write_it, (void *)0xffff7fffffffffff), GP, 0, "non-canonical write");
	check_trap(attempt(call_it, (void *)0x8000000000000000), GP, 0, "non-canonical call");
	/* Quadwords that straddle the two ends of the hole. */
	check_trap(attempt(write_pair, (void *)0x7ffffffffffc), GP, 0, "write into the hole");
	check_page_fault(attempt(read_it, (void *)0x7ffffffffff0), 0, 0x7ffffffffff0,
		"the last canonical addresses");
}

static void USER_CODE user_bad_stack(void *address)
{
	asm volatile("mov %0, %%rsp; push %%rax" ::"r"(address) : "memory");
	user_exit();
}

static void supervisor_mode_execution(void)
{
	if (!(cpuid(7, 0).ebx & BIT(7))) {
		skip("SMEP", "not in CPUID");
		return;
	}
	map_all();
	memset(page, 0xc3, 4096);
	check_trap(attempt(call_it, target), NO_TRAP, 0, "ring 0 executes user pages without SMEP");
	write_cr4(read_cr4() | CR4_SMEP);
	check_page_fault(
		attempt(call_it, target), PF_P | PF_I, ADDRESS, "SMEP: it does not with it");
	check_trap(attempt(read_it, target), NO_TRAP, 0, "SMEP: reads are allowed");
	check_trap(attempt_user(user_read, target), USER_EXIT, 0, "SMEP: ring 3 executes");
	take(3, PTE_U);
	check_trap(attempt(call_it, target), NO_TRAP, 0,
		"SMEP: a page is a supervisor's if any level says so");
	write_cr4(read_cr4() & ~CR4_SMEP);
}

static void read_with_ac(void *address)
{
	u32 value;

	asm volatile("stac; movl (%1), %0; clac" : "=r"(value) : "r"(address) : "memory");
}

static void supervisor_mode_access(void)
{
	if (!(cpuid(7, 0).ebx & BIT(20))) {
		skip("SMAP", "not in CPUID");
		return;
	}
	map_all();
	write_cr4(read_cr4() | CR4_SMAP);
	check_page_fault(attempt(read_it, target), PF_P, ADDRESS, "SMAP: ring 0 reads a user page");
	check_page_fault(
		attempt(write_it, target), PF_P | PF_W, ADDRESS, "SMAP: ring 0 writes a user page");
	check_trap(attempt(read_with_ac, target), NO_TRAP, 0, "SMAP: STAC allows it");
	check_trap(attempt_user(user_read, target), USER_EXIT, 0, "SMAP: ring 3 is not concerned");
	write_cr4(read_cr4() & ~CR4_SMAP);
}

void payload(void)
{
	write_cr0(read_cr0() | CR0_WP);
	make_tables();
	memset(page, 0xc3, 4096);
	faults_at_each_level();
	write_protect();
	accessed_and_dirty();
	reserved_bits();
	large_pages();
	crossing();
	fetch_across();
	canonical();
	check_trap(attempt_user(user_bad_stack, (void *)0xffff800000000000), SS, 0,
		"a push to a non-canonical address");
	supervisor_mode_execution();
	supervisor_mode_access();
}
