/*
 * Header and header extensions (qcow2, "Header", "Header extensions"). What changes while an image
 * is open lies in the first sector, so that a change is there or not. Unknown extensions are kept.
 *
 * Not modelled: encryption, and external data files; both are refused.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXTENSION_BYTES (64u << 10)

static void decode(struct qcow2_header *header, const uint8_t *sector)
{
	*header = (struct qcow2_header){
		.version = be32_load(sector + QCOW2_VERSION),
		.backing_offset = be64_load(sector + QCOW2_BACKING_OFFSET),
		.backing_bytes = be32_load(sector + QCOW2_BACKING_BYTES),
		.cluster_bits = be32_load(sector + QCOW2_CLUSTER_BITS),
		.size = be64_load(sector + QCOW2_SIZE),
		.crypt_method = be32_load(sector + QCOW2_CRYPT_METHOD),
		.l1_entries = be32_load(sector + QCOW2_L1_ENTRIES),
		.l1_offset = be64_load(sector + QCOW2_L1_OFFSET),
		.reftable_offset = be64_load(sector + QCOW2_REFTABLE_OFFSET),
		.reftable_clusters = be32_load(sector + QCOW2_REFTABLE_CLUSTERS),
		.nr_snapshots = be32_load(sector + QCOW2_NR_SNAPSHOTS),
		.snapshots_offset = be64_load(sector + QCOW2_SNAPSHOTS_OFFSET),
		.refcount_order = 4,
		.header_bytes = QCOW2_V2_HEADER_BYTES,
	};
	if (header->version < 3)
		return;
	header->incompatible = be64_load(sector + QCOW2_INCOMPATIBLE);
	header->compatible = be64_load(sector + QCOW2_COMPATIBLE);
	header->autoclear = be64_load(sector + QCOW2_AUTOCLEAR);
	header->refcount_order = be32_load(sector + QCOW2_REFCOUNT_ORDER);
	header->header_bytes = be32_load(sector + QCOW2_HEADER_BYTES);
	if (header->header_bytes > QCOW2_COMPRESSION_TYPE)
		header->compression_type = sector[QCOW2_COMPRESSION_TYPE];
}

static void encode(const struct qcow2_header *header, uint8_t *sector)
{
	be32_store(sector, QCOW2_MAGIC);
	be32_store(sector + QCOW2_VERSION, header->version);
	be64_store(sector + QCOW2_BACKING_OFFSET, header->backing_offset);
	be32_store(sector + QCOW2_BACKING_BYTES, header->backing_bytes);
	be32_store(sector + QCOW2_CLUSTER_BITS, header->cluster_bits);
	be64_store(sector + QCOW2_SIZE, header->size);
	be32_store(sector + QCOW2_CRYPT_METHOD, header->crypt_method);
	be32_store(sector + QCOW2_L1_ENTRIES, header->l1_entries);
	be64_store(sector + QCOW2_L1_OFFSET, header->l1_offset);
	be64_store(sector + QCOW2_REFTABLE_OFFSET, header->reftable_offset);
	be32_store(sector + QCOW2_REFTABLE_CLUSTERS, header->reftable_clusters);
	be32_store(sector + QCOW2_NR_SNAPSHOTS, header->nr_snapshots);
	be64_store(sector + QCOW2_SNAPSHOTS_OFFSET, header->snapshots_offset);
	if (header->version < 3)
		return;
	be64_store(sector + QCOW2_INCOMPATIBLE, header->incompatible);
	be64_store(sector + QCOW2_COMPATIBLE, header->compatible);
	be64_store(sector + QCOW2_AUTOCLEAR, header->autoclear);
	be32_store(sector + QCOW2_REFCOUNT_ORDER, header->refcount_order);
	be32_store(sector + QCOW2_HEADER_BYTES, header->header_bytes);
	if (header->header_bytes > QCOW2_COMPRESSION_TYPE)
		sector[QCOW2_COMPRESSION_TYPE] = header->compression_type;
}

static int bad(const struct qcow2 *q, struct error *err, const char *what)
{
	return error_set(err, EXIT_CODE_BAD_FILE,
		"'%s' is damaged, or not a qcow2 image: its %s; restore it from a copy",
		q->image->path, what);
}

static int check_geometry(const struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *header = &q->header;
	uint64_t mask = BIT(header->cluster_bits) - 1;
	bool is_extended = header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;
	uint64_t per_l1 = BIT(header->cluster_bits)
			  << (header->cluster_bits - (is_extended ? 4 : 3));

	if (header->refcount_order > 6)
		return bad(q, err, "refcounts are wider than 64 bits");
	if (is_extended && header->cluster_bits < QCOW2_MIN_EXTENDED_BITS)
		return bad(q, err, "clusters are too small for extended L2 entries");
	if (header->size > INT64_MAX)
		return bad(q, err, "disk is too large");
	if ((uint64_t)header->l1_entries * 8 > QCOW2_MAX_L1_BYTES)
		return bad(q, err, "L1 table is longer than 32 MiB");
	if (header->size / per_l1 + (header->size % per_l1 != 0) > header->l1_entries)
		return bad(q, err, "L1 table is too short for its size");
	if (header->l1_offset & mask || header->l1_offset >= QCOW2_MAX_HOST_OFFSET)
		return bad(q, err, "L1 table is at no cluster");
	if (header->reftable_offset & mask || header->reftable_offset == 0 ||
		header->reftable_offset >= QCOW2_MAX_HOST_OFFSET)
		return bad(q, err, "refcount table is at no cluster");
	if (header->reftable_clusters == 0 || (uint64_t)header->reftable_clusters
							      << header->cluster_bits >
						      QCOW2_MAX_REFTABLE_BYTES)
		return bad(q, err, "refcount table is empty or longer than 8 MiB");
	if (header->nr_snapshots > QCOW2_MAX_SNAPSHOTS)
		return bad(q, err, "snapshots are more than 65536");
	if (header->nr_snapshots && (header->snapshots_offset & mask ||
					    header->snapshots_offset >= QCOW2_MAX_HOST_OFFSET))
		return bad(q, err, "snapshot table is at no cluster");
	return 0;
}

static int check_header(const struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *header = &q->header;
	bool has_type = header->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION;

	if (header->version != 2 && header->version != 3)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' is qcow2 of version %u; atoll knows 2 and 3: convert it with the "
			"program "
			"that made it",
			q->image->path, header->version);
	if (header->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
		header->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return bad(q, err, "clusters are not of 512 bytes to 2 MiB");
	if (header->version >= 3 && (header->header_bytes < QCOW2_V3_MIN_HEADER_BYTES ||
					    header->header_bytes % 8 != 0 ||
					    header->header_bytes > BIT(header->cluster_bits)))
		return bad(q, err, "header has an impossible length");
	if (header->crypt_method != 0)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"'%s' is encrypted, which atoll does not support; decrypt it with "
			"'qemu-img "
			"convert'",
			q->image->path);
	if (has_type != (header->compression_type != QCOW2_COMPRESSION_ZLIB) ||
		header->compression_type > QCOW2_COMPRESSION_ZSTD)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"'%s' is compressed by method %u; atoll knows zlib (0) and zstd (1): "
			"convert "
			"it with the program that made it",
			q->image->path, header->compression_type);
	return check_geometry(q, err);
}

/* The name that the image itself gives to an incompatible feature, or its number. */
static void name_feature(const struct qcow2 *q, unsigned bit, char *name, size_t size)
{
	snprintf(name, size, "bit %u", bit);
	for (uint32_t i = 0; i < q->nr_extensions; i++) {
		const struct qcow2_extension *extension = &q->extensions[i];

		if (extension->type != QCOW2_EXTENSION_FEATURE_NAMES)
			continue;
		for (uint32_t at = 0; at + QCOW2_FEATURE_NAME_BYTES <= extension->bytes;
			at += QCOW2_FEATURE_NAME_BYTES) {
			const uint8_t *row = extension->data + at;

			if (row[0] != 0 || row[1] != bit)
				continue;
			snprintf(name, size, "'%.*s'",
				QCOW2_FEATURE_NAME_BYTES - QCOW2_FEATURE_NAME_OFFSET,
				(const char *)row + QCOW2_FEATURE_NAME_OFFSET);
			for (char *c = name; *c; c++) {
				if (*c < ' ' || *c > '~')
					*c = '?';
			}
		}
	}
}

static int check_features(const struct qcow2 *q, struct error *err)
{
	uint64_t unknown = q->header.incompatible & ~QCOW2_INCOMPATIBLE_KNOWN;
	char name[64];

	if (q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"'%s' keeps its data in another file, which atoll does not support; "
			"convert it "
			"with 'qemu-img convert'",
			q->image->path);
	if (unknown == 0)
		return 0;
	name_feature(q, (unsigned)__builtin_ctzll(unknown), name, sizeof(name));
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"'%s' uses the qcow2 feature %s, which atoll does not know; convert it with the "
		"program "
		"that made it",
		q->image->path, name);
}

static char *copy_string(const uint8_t *from, uint32_t bytes)
{
	char *text = malloc(bytes + 1);

	if (!text)
		return NULL;
	memcpy(text, from, bytes);
	text[bytes] = 0;
	return text;
}

static int add_extension(struct qcow2 *q, uint32_t type, const uint8_t *data, uint32_t bytes)
{
	struct qcow2_extension *larger;
	uint8_t *copy;

	if (type == QCOW2_EXTENSION_BACKING_FORMAT) {
		free(q->backing_format);
		q->backing_format = copy_string(data, bytes);
		return q->backing_format ? 0 : -ENOMEM;
	}
	larger = realloc(q->extensions, (q->nr_extensions + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	q->extensions = larger;
	copy = malloc(bytes ? bytes : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, bytes);
	q->extensions[q->nr_extensions++] =
		(struct qcow2_extension){ .type = type, .bytes = bytes, .data = copy };
	return 0;
}

/* `area`: the first bytes of the image, at most a cluster. */
static int read_extensions(struct qcow2 *q, const uint8_t *area, uint64_t bytes, struct error *err)
{
	uint64_t at = q->header.header_bytes;

	if (q->header.backing_offset && q->header.backing_offset < bytes)
		bytes = q->header.backing_offset;
	while (at + 8 <= bytes) {
		uint32_t type = be32_load(area + at), length = be32_load(area + at + 4);
		int result;

		if (type == QCOW2_EXTENSION_END)
			return 0;
		if (length > bytes - at - 8)
			return bad(q, err, "header extension does not fit");
		result = add_extension(q, type, area + at + 8, length);
		if (result)
			return result;
		at += 8 + align_up(length, 8);
	}
	return 0;
}

static int read_backing_name(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *header = &q->header;
	uint8_t name[QCOW2_MAX_BACKING_NAME];
	int result;

	if (header->backing_offset == 0)
		return 0;
	if (header->backing_bytes > sizeof(name) ||
		header->backing_offset > BIT(header->cluster_bits) - header->backing_bytes)
		return bad(q, err, "backing file's name does not fit");
	result = host_file_pread(q->file, header->backing_offset, name, header->backing_bytes);
	if (result)
		return result;
	if (memchr(name, 0, header->backing_bytes) || header->backing_bytes == 0)
		return bad(q, err, "backing file's name is no name");
	q->backing_name = copy_string(name, header->backing_bytes);
	return q->backing_name ? 0 : -ENOMEM;
}

int qcow2_header_read(struct qcow2 *q, struct error *err)
{
	uint64_t area_bytes;
	uint8_t *area;
	int result = host_file_pread(q->file, 0, q->header_sector, sizeof(q->header_sector));

	if (result)
		return result;
	if (be32_load(q->header_sector) != QCOW2_MAGIC)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' is not a qcow2 image; name its format, such as raw", q->image->path);
	decode(&q->header, q->header_sector);
	result = check_header(q, err);
	if (result)
		return result;
	area_bytes = BIT(q->header.cluster_bits);
	if (area_bytes > MAX_EXTENSION_BYTES)
		area_bytes = MAX_EXTENSION_BYTES;
	area = host_file_memory(area_bytes);
	if (!area)
		return -ENOMEM;
	result = host_file_pread(q->file, 0, area, area_bytes);
	if (result == 0)
		result = read_extensions(q, area, area_bytes, err);
	free(area);
	if (result == 0)
		result = check_features(q, err);
	return result ? result : read_backing_name(q, err);
}

int qcow2_header_write(struct qcow2 *q)
{
	encode(&q->header, q->header_sector);
	return host_file_pwrite(q->file, 0, q->header_sector, sizeof(q->header_sector));
}

static uint64_t put_extension(
	uint8_t *area, uint64_t at, uint32_t type, const void *data, uint32_t bytes)
{
	be32_store(area + at, type);
	be32_store(area + at + 4, bytes);
	if (bytes)
		memcpy(area + at + 8, data, bytes);
	return at + 8 + align_up(bytes, 8);
}

int qcow2_header_rewrite(struct qcow2 *q, struct error *err)
{
	uint32_t name_bytes = q->backing_name ? (uint32_t)strlen(q->backing_name) : 0;
	uint64_t need = q->header.header_bytes + 8 + name_bytes, at;
	uint8_t *area;
	int result;

	if (q->backing_format)
		need += 8 + align_up(strlen(q->backing_format), 8);
	for (uint32_t i = 0; i < q->nr_extensions; i++)
		need += 8 + align_up(q->extensions[i].bytes, 8);
	if (need > q->cluster_bytes || name_bytes > QCOW2_MAX_BACKING_NAME)
		return error_set(err, EXIT_CODE_CONFIG,
			"the name of the backing file of '%s' is too long for its header; use a "
			"shorter one",
			q->image->path);
	area = calloc(1, align_up(need, 512));
	if (!area)
		return -ENOMEM;
	memcpy(area, q->header_sector, q->header.header_bytes < 512 ? q->header.header_bytes : 512);
	at = q->header.header_bytes;
	if (q->backing_format)
		at = put_extension(area, at, QCOW2_EXTENSION_BACKING_FORMAT, q->backing_format,
			(uint32_t)strlen(q->backing_format));
	for (uint32_t i = 0; i < q->nr_extensions; i++)
		at = put_extension(area, at, q->extensions[i].type, q->extensions[i].data,
			q->extensions[i].bytes);
	at = put_extension(area, at, QCOW2_EXTENSION_END, NULL, 0);
	q->header.backing_offset = name_bytes ? at : 0;
	q->header.backing_bytes = name_bytes;
	if (name_bytes)
		memcpy(area + at, q->backing_name, name_bytes);
	encode(&q->header, area);
	memcpy(q->header_sector, area, sizeof(q->header_sector));
	result = host_file_pwrite(q->file, 0, area, align_up(need, 512));
	free(area);
	return result;
}

void qcow2_header_finish(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->nr_extensions; i++)
		free(q->extensions[i].data);
	free(q->extensions);
	free(q->backing_name);
	free(q->backing_format);
	q->extensions = NULL;
	q->nr_extensions = 0;
	q->backing_name = q->backing_format = NULL;
}
