/*
 * ELF executables for x86 (System V gABI, chapters 4 and 5), both classes in one reader. Segments
 * go to their physical addresses. Not modelled: relocation, sections, symbols.
 */
#include "firmware/boot_elf.h"

#include <elf.h>
#include <errno.h>

bool boot_elf_detect(const struct boot_image *image)
{
	return boot_image_has(image, 0, EI_NIDENT) && memcmp(image->bytes, ELFMAG, SELFMAG) == 0;
}

static int refuse(const struct boot_image *image, const char *reason, struct error *err)
{
	return error_set(err, EXIT_CODE_BAD_FILE,
		"%s is an ELF file, but %s; give --kernel an x86 kernel", image->path, reason);
}

static void read_header_64(struct boot_elf *elf, const struct boot_image *image)
{
	Elf64_Ehdr header;

	memcpy(&header, image->bytes, sizeof(header));
	elf->entry = header.e_entry;
	elf->segments_offset = header.e_phoff;
	elf->segment_size = header.e_phentsize;
	elf->nr_segments = header.e_phnum;
}

static void read_header_32(struct boot_elf *elf, const struct boot_image *image)
{
	Elf32_Ehdr header;

	memcpy(&header, image->bytes, sizeof(header));
	elf->entry = header.e_entry;
	elf->segments_offset = header.e_phoff;
	elf->segment_size = header.e_phentsize;
	elf->nr_segments = header.e_phnum;
}

int boot_elf_open(struct boot_elf *elf, const struct boot_image *image, struct error *err)
{
	uint16_t machine;

	*elf = (struct boot_elf){ .is_64 = image->bytes[EI_CLASS] == ELFCLASS64 };
	if (image->bytes[EI_DATA] != ELFDATA2LSB ||
		!boot_image_has(image, 0, elf->is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
		return refuse(image, "its header is cut short or not little-endian", err);
	machine = boot_get16(image->bytes + offsetof(Elf32_Ehdr, e_machine));
	if (machine != EM_386 && machine != EM_X86_64)
		return refuse(image, "for another processor", err);
	if (elf->is_64)
		read_header_64(elf, image);
	else
		read_header_32(elf, image);
	if (elf->segment_size < (elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
		!boot_image_has(image, elf->segments_offset,
			(uint64_t)elf->segment_size * elf->nr_segments))
		return refuse(image, "its program headers lie outside of the file", err);
	return 0;
}

void boot_elf_segment(const struct boot_elf *elf, const struct boot_image *image, unsigned index,
	struct boot_elf_segment *segment)
{
	const uint8_t *bytes =
		image->bytes + elf->segments_offset + (uint64_t)index * elf->segment_size;

	if (elf->is_64) {
		Elf64_Phdr header;

		memcpy(&header, bytes, sizeof(header));
		*segment = (struct boot_elf_segment){ header.p_type, header.p_offset,
			header.p_vaddr, header.p_paddr, header.p_filesz, header.p_memsz };
	} else {
		Elf32_Phdr header;

		memcpy(&header, bytes, sizeof(header));
		*segment = (struct boot_elf_segment){ header.p_type, header.p_offset,
			header.p_vaddr, header.p_paddr, header.p_filesz, header.p_memsz };
	}
}

static int load_segment(struct boot *boot, const struct boot_image *image,
	const struct boot_elf_segment *segment, struct error *err)
{
	gpa_t address = segment->physical_address;

	if (segment->memory_size < segment->file_size ||
		!boot_image_holds(image, segment->offset, segment->file_size))
		return refuse(image, "a segment lies outside of the file", err);
	if (!boot_layout_is_free(&boot->layout, address, segment->memory_size))
		return refuse(image, "its segments overlap", err);
	if (boot_claim_image(boot, image, address, segment->memory_size, err) < 0)
		return -EINVAL;
	if (boot_image_copy(
		    image, segment->offset, segment->file_size, boot->memory, address, err) < 0)
		return -EINVAL;
	return boot_zero(boot->memory, address + segment->file_size,
		segment->memory_size - segment->file_size);
}

int boot_elf_load(struct boot *boot, const struct boot_elf *elf, const struct boot_image *image,
	gpa_t *end, struct error *err)
{
	*end = 0;
	for (unsigned i = 0; i < elf->nr_segments; i++) {
		struct boot_elf_segment segment;
		int result;

		boot_elf_segment(elf, image, i, &segment);
		if (segment.type != PT_LOAD || segment.memory_size == 0)
			continue;
		result = load_segment(boot, image, &segment, err);
		if (result < 0)
			return result;
		if (segment.physical_address + segment.memory_size > *end)
			*end = segment.physical_address + segment.memory_size;
	}
	if (*end == 0)
		return refuse(image, "it has nothing to load", err);
	return 0;
}

gpa_t boot_elf_entry(const struct boot_elf *elf, const struct boot_image *image)
{
	struct boot_elf_segment segment;

	for (unsigned i = 0; i < elf->nr_segments; i++) {
		boot_elf_segment(elf, image, i, &segment);
		if (segment.type == PT_LOAD &&
			elf->entry - segment.physical_address < segment.memory_size)
			return elf->entry;
	}
	for (unsigned i = 0; i < elf->nr_segments; i++) {
		boot_elf_segment(elf, image, i, &segment);
		if (segment.type == PT_LOAD &&
			elf->entry - segment.virtual_address < segment.memory_size)
			return elf->entry - segment.virtual_address + segment.physical_address;
	}
	return elf->entry;
}

/* Notes are four-byte aligned in both classes: Linux, Xen and the linkers agree on that. */
static const uint8_t *find_note(
	const uint8_t *bytes, uint64_t size, const char *owner, uint32_t type, uint32_t *note_size)
{
	uint64_t owner_size = strlen(owner) + 1;

	for (uint64_t at = 0; size - at >= sizeof(Elf32_Nhdr);) {
		uint64_t name_size = boot_get32(bytes + at);
		uint64_t descriptor_size = boot_get32(bytes + at + 4);
		uint64_t name = at + sizeof(Elf32_Nhdr);
		uint64_t descriptor = name + align_up(name_size, 4);
		uint64_t next = descriptor + align_up(descriptor_size, 4);

		if (descriptor + descriptor_size > size)
			return NULL;
		if (boot_get32(bytes + at + 8) == type && name_size == owner_size &&
			memcmp(bytes + name, owner, owner_size) == 0) {
			*note_size = (uint32_t)descriptor_size;
			return bytes + descriptor;
		}
		if (next >= size)
			return NULL;
		at = next;
	}
	return NULL;
}

const uint8_t *boot_elf_note(const struct boot_elf *elf, const struct boot_image *image,
	const char *owner, uint32_t type, uint32_t *size)
{
	for (unsigned i = 0; i < elf->nr_segments; i++) {
		struct boot_elf_segment segment;
		const uint8_t *note;

		boot_elf_segment(elf, image, i, &segment);
		if (segment.type != PT_NOTE ||
			!boot_image_has(image, segment.offset, segment.file_size))
			continue;
		note = find_note(
			image->bytes + segment.offset, segment.file_size, owner, type, size);
		if (note)
			return note;
	}
	return NULL;
}
