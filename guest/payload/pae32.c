/* PAE paging: SDM 3A 4.4. */
#include "payload.h"

#define ADDRESS 0x80123678u
#define ALL     (PTE_P | PTE_W | PTE_U)

static u64 pointers[4] __attribute__((aligned(32)));
static u64 *directories[4], *table;
static u8 *page;
static void *const target = (void *)ADDRESS;
static u64 *pde, *pte;

static void flush(void)
{
	write_cr3(read_cr3());
}

static void map_all(void)
{
	pointers[2] = (word)directories[2] | PTE_P;
	*pde = (word)table | ALL;
	*pte = (word)page | ALL;
	flush();
}

static void start_paging(void)
{
	for (u32 i = 0; i < 4; i++) {
		directories[i] = page_alloc();
		for (u32 j = 0; j < 512; j++)
			directories[i][j] = ((u64)i * 512 + j) << 21 | PTE_P | PTE_W | PTE_PS;
		pointers[i] = (word)directories[i] | PTE_P;
	}
	directories[0][2] |= PTE_U;
	table = page_alloc();
	page = page_alloc();
	memset(page, 0xc3, PAGE_SIZE);
	pde = &directories[2][ADDRESS >> 21 & 511];
	pte = &table[ADDRESS >> 12 & 511];
	write_cr4(read_cr4() | CR4_PAE);
	write_cr3((word)pointers);
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

static void USER_CODE user_call(void *address)
{
	asm volatile("call *%0" ::"r"(address) : "memory");
	user_exit();
}

static void load_cr3(void *value)
{
	write_cr3((word)value);
}

static void faults(u64 *entry)
{
	map_all();
	*entry = 0;
	flush();
	check_page_fault(attempt(read_it, target), 0, ADDRESS, "absent, read");
	check_page_fault(attempt(write_it, target), PF_W, ADDRESS, "absent, write");
	check_page_fault(attempt_user(user_read, target), PF_U, ADDRESS, "absent, ring 3");
	if (entry == &pointers[2])
		return;
	map_all();
	*entry &= ~PTE_W;
	flush();
	check_page_fault(attempt(write_it, target), PF_P | PF_W, ADDRESS, "read-only");
	map_all();
	*entry &= ~PTE_U;
	flush();
	check_page_fault(attempt_user(user_read, target), PF_P | PF_U, ADDRESS, "supervisor");
	map_all();
	*entry |= BIT(62);
	flush();
	check_page_fault(attempt(read_it, target), PF_P | PF_R, ADDRESS, "reserved bit 62");
}

static void no_execute(u64 *entry)
{
	map_all();
	*entry |= PTE_NX;
	flush();
	check_page_fault(attempt(read_it, target), PF_P | PF_R, ADDRESS, "NX without EFER.NXE");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	check_trap(attempt(read_it, target), NO_TRAP, 0, "NX: a read");
	check_page_fault(attempt(call_it, target), PF_P | PF_I, ADDRESS, "NX: a fetch");
	check_page_fault(attempt_user(user_call, target), PF_P | PF_I | PF_U, ADDRESS,
		"NX: a fetch in ring 3");
	map_all();
	check_trap(attempt(call_it, target), NO_TRAP, 0, "without NX");
	*entry = 0;
	flush();
	check_page_fault(
		attempt(call_it, target), PF_I, ADDRESS, "an absent page's fetch, under NXE");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
}

static void pointer_table(void)
{
	map_all();
	pointers[2] |= PTE_W;
	check_trap(
		attempt(load_cr3, (void *)read_cr3()), GP, 0, "MOV to CR3: reserved PDPTE bit 1");
	pointers[2] = (word)directories[2] | PTE_P | BIT(63);
	check_trap(
		attempt(load_cr3, (void *)read_cr3()), GP, 0, "MOV to CR3: reserved PDPTE bit 63");
	check_trap(attempt(read_it, target), NO_TRAP, 0, "the refused one changes nothing");
	pointers[2] = BIT(63) | PTE_W;
	check_trap(attempt(load_cr3, (void *)read_cr3()), NO_TRAP, 0,
		"an absent PDPTE has no reserved bits");
	map_all();
}

static void large_pages(void)
{
	u64 frame = (word)page & ~0x1fffffull;

	*pde = frame | ALL | PTE_PS;
	flush();
	check_equal(*(volatile u8 *)((ADDRESS & ~0x1fffffu) + ((word)page & 0x1fffff)), 0xc3,
		"2 MiB page: address");
	*pde = frame | ALL | PTE_PS | BIT(13);
	flush();
	check_page_fault(
		attempt(read_it, target), PF_P | PF_R, ADDRESS, "2 MiB page: reserved bit 13");
	map_all();
	attempt(write_it, target);
	check((*pte & (PTE_A | PTE_D)) == (PTE_A | PTE_D) && *pde & PTE_A, "A and D");
	check(pointers[2] == ((word)directories[2] | PTE_P), "PDPTEs have no A");
}

void payload(void)
{
	if (!(cpuid(1, 0).edx & BIT(6))) {
		skip("PAE", "not in CPUID");
		return;
	}
	start_paging();
	faults(pte);
	faults(pde);
	faults(&pointers[2]);
	if (cpuid(0x80000001, 0).edx & BIT(20)) {
		no_execute(pte);
		no_execute(pde);
	} else {
		skip("NX", "not in CPUID");
	}
	pointer_table();
	large_pages();
}
