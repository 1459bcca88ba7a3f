/* 32-bit paging: SDM 3A 4.3. */
#include "payload.h"

#define ADDRESS 0x80123678u
#define ALL     ((u32)(PTE_P | PTE_W | PTE_U))

static u32 *directory, *table;
static u8 *page;
static void *const target = (void *)ADDRESS;
static u32 *pde, *pte;

static void flush(void)
{
	write_cr3(read_cr3());
}

static void map_all(void)
{
	*pde = (word)table | ALL;
	*pte = (word)page | ALL;
	flush();
}

static void start_paging(void)
{
	directory = page_alloc();
	table = page_alloc();
	page = page_alloc();
	memset(page, 0xc3, PAGE_SIZE);
	/* 4 MiB one to one with PSE; the second 4 MiB is ring 3's. */
	for (u32 i = 0; i < 1024; i++)
		directory[i] = i << 22 | (u32)(PTE_P | PTE_W | PTE_PS);
	directory[1] |= PTE_U;
	pde = &directory[ADDRESS >> 22];
	pte = &table[ADDRESS >> 12 & 1023];
	write_cr4(read_cr4() | CR4_PSE);
	write_cr3((word)directory);
	write_cr0(read_cr0() | CR0_PG | CR0_WP);
	map_all();
}

static void read_it(void *address)
{
	(void)*(volatile u32 *)address;
}

static void write_it(void *address)
{
	*(volatile u32 *)address = 0xc3c3c3c3;
}

static void call_it(void *address)
{
	asm volatile("call *%0" ::"r"(address) : "memory");
}

static void USER_CODE user_read(void *address)
{
	(void)*(volatile u32 *)address;
	user_exit();
}

static void USER_CODE user_write(void *address)
{
	*(volatile u32 *)address = 0xc3c3c3c3;
	user_exit();
}

static void USER_CODE user_call(void *address)
{
	asm volatile("call *%0" ::"r"(address) : "memory");
	user_exit();
}

static void faults(u32 *entry)
{
	map_all();
	*entry = 0;
	flush();
	check_page_fault(attempt(read_it, target), 0, ADDRESS, "absent, read");
	check_page_fault(attempt(write_it, target), PF_W, ADDRESS, "absent, write");
	/* Without NX there is no fetch bit. */
	check_page_fault(attempt(call_it, target), 0, ADDRESS, "absent, fetch");
	check_page_fault(attempt_user(user_read, target), PF_U, ADDRESS, "absent, ring 3");
	map_all();
	*entry &= ~(u32)PTE_W;
	flush();
	check_page_fault(attempt(write_it, target), PF_P | PF_W, ADDRESS, "read-only");
	check_trap(attempt(read_it, target), NO_TRAP, 0, "read-only, read");
	check_page_fault(
		attempt_user(user_write, target), PF_P | PF_W | PF_U, ADDRESS, "read-only, ring 3");
	map_all();
	*entry &= ~(u32)PTE_U;
	flush();
	check_trap(attempt(write_it, target), NO_TRAP, 0, "supervisor, ring 0");
	check_page_fault(
		attempt_user(user_read, target), PF_P | PF_U, ADDRESS, "supervisor, ring 3 reads");
	check_page_fault(attempt_user(user_call, target), PF_P | PF_U, ADDRESS,
		"supervisor, ring 3 fetches");
	map_all();
	check_trap(attempt_user(user_call, target), USER_EXIT, 0, "all allowed");
}

static void accessed_and_dirty(void)
{
	map_all();
	attempt(read_it, target);
	check(*pde & PTE_A && *pte & PTE_A, "a read sets A");
	check(!(*pte & PTE_D), "a read leaves D clear");
	attempt(write_it, target);
	check(*pte & PTE_D && !(*pde & PTE_D), "a write sets D in the PTE only");
}

static void write_protect(void)
{
	map_all();
	*pte &= ~(u32)PTE_W;
	flush();
	write_cr0(read_cr0() & ~CR0_WP);
	check_trap(attempt(write_it, target), NO_TRAP, 0, "CR0.WP clear");
	write_cr0(read_cr0() | CR0_WP);
	check_page_fault(attempt(write_it, target), PF_P | PF_W, ADDRESS, "CR0.WP set");
}

static void large_pages(void)
{
	u32 frame = (word)page & 0xffc00000;

	*pde = frame | ALL | (u32)PTE_PS;
	flush();
	check_equal(*(volatile u8 *)((ADDRESS & 0xffc00000) + ((word)page & 0x3fffff)), 0xc3,
		"4 MiB page: address");
	*(volatile u8 *)((ADDRESS & 0xffc00000) + ((word)page & 0x3fffff)) = 0xc3;
	check((*pde & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "4 MiB page: A and D");
	*pde = frame | (u32)(PTE_P | PTE_PS);
	flush();
	check_page_fault(attempt(write_it, target), PF_P | PF_W, ADDRESS, "4 MiB page: read-only");
	check_page_fault(
		attempt_user(user_read, target), PF_P | PF_U, ADDRESS, "4 MiB page: supervisor");
	*pde = frame | ALL | (u32)PTE_PS | 1u << 21;
	flush();
	check_page_fault(
		attempt(read_it, target), PF_P | PF_R, ADDRESS, "4 MiB page: reserved bit 21");
	map_all();
}

static void turning_off(void)
{
	volatile u32 *alias = (volatile u32 *)ADDRESS;

	map_all();
	*alias = 0x1234;
	write_cr0(read_cr0() & ~CR0_PG);
	check_equal(
		*(u32 *)(page + (ADDRESS & 0xfff)), 0x1234, "paging off: addresses are physical");
	write_cr0(read_cr0() | CR0_PG);
	check_equal(*alias, 0x1234, "paging on again");
}

void payload(void)
{
	if (!(cpuid(1, 0).edx & BIT(3))) {
		skip("4 MiB pages", "not in CPUID");
		return;
	}
	start_paging();
	faults(pte);
	faults(pde);
	accessed_and_dirty();
	write_protect();
	large_pages();
	turning_off();
}
