/*
 * An opened image: a format over a host file, perhaps over a backing image. Calls are synchronous
 * and thread-safe unless they say otherwise; they return 0 or -errno, offsets and sizes are bytes.
 *
 * The seam of a format is struct image_format; raw and qcow2 are the rows of image_formats[].
 */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "base/error.h"
#include "block/buffer.h"
#include "block/host_file.h"

#include <stdbool.h>
#include <stdint.h>

/* A chain of more backing files than this is refused. */
#define IMAGE_MAX_CHAIN 64

struct image;

struct image_options {
	const char *path;
	const char *format; /* "raw" or "qcow2" */
	bool read_only;
	bool direct;         /* O_DIRECT */
	bool ignore_flush;   /* for throw-away images */
	bool unlocked;       /* take no lock: only to look at an image that is in use */
	bool no_backing;     /* do not open the backing file; what it holds reads as zeros */
	bool keep_discarded; /* free clusters without telling the host */
	bool allow_damaged;  /* open what only a repair may write to */
	bool check_owners;   /* assert at each allocation that nothing else owns the cluster */
	const struct host_file_observer *observer;
};

enum image_content {
	IMAGE_DATA,        /* stored in this image */
	IMAGE_ZERO,        /* reads as zeros, whatever the backing file holds */
	IMAGE_UNALLOCATED, /* read from the backing file; zeros if there is none */
};

/* A request's way past the format: the one host range it stands for. */
struct image_pin {
	struct host_file *file;
	uint64_t host_offset;
	uint64_t private_[6]; /* the format's */
};

struct image_format {
	const char *name;
	int (*open)(struct image *image, const struct image_options *options, struct error *err);
	/* Writes back what is cached; frees in any case. */
	int (*close)(struct image *image);
	int (*read)(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);
	int (*write)(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);
	int (*flush)(struct image *image);
	int (*discard)(struct image *image, uint64_t offset, uint64_t bytes);
	int (*zero)(struct image *image, uint64_t offset, uint64_t bytes, bool unmap);
	int (*resize)(struct image *image, uint64_t bytes, struct error *err);
	/* What the first bytes of a range hold; sets `*bytes` (at most as given) to how many. */
	int (*content)(
		struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content);
	/*
	 * If the whole range lies in one host range and can be read or written there without any
	 * change of metadata, and telling so needs no waiting: fills `pin` and returns true. The
	 * host range stays what it is until unpin.
	 */
	bool (*pin)(struct image *image, uint64_t offset, uint64_t bytes, bool is_write,
		struct image_pin *pin);
	void (*unpin)(struct image *image, struct image_pin *pin);
};

extern const struct image_format *const image_formats[]; /* ends with NULL */
extern const struct image_format image_raw;
extern const struct image_format image_qcow2;
const struct image_format *image_format_find(const char *name, struct error *err);

struct image {
	const struct image_format *format;
	char *path;
	struct host_file *file;
	struct image *backing; /* read-only; NULL if there is none */
	struct image *overlay; /* whose backing image this is; NULL for the top */
	void *state;           /* the format's */
	_Atomic uint64_t size;
	bool read_only;
	bool keep_discarded;
	uint32_t discard_granularity; /* 0: discards do nothing */
	uint32_t cluster_bytes;       /* 0: the format has none */
};

/* Opens an image and, unless told not to, its backing files. */
int image_open(struct image **image, const struct image_options *options, struct error *err);
/* Returns the first failure of writing back; frees in any case. NULL is fine. */
int image_close(struct image *image);

/*
 * For a format's open: opens the backing file that `image` names. `name` is relative to the
 * directory of `image`.
 */
int image_open_backing(struct image *image, const char *name, const char *format,
	const struct image_options *options, struct error *err);
/* `name` as seen from the directory of `image_path`; free(). NULL if there is no memory. */
char *image_relative_path(const char *image_path, const char *name);

/* Beyond the end: -EINVAL. */
int image_read(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);
int image_write(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);
int image_pread(struct image *image, uint64_t offset, void *to, uint64_t bytes);
int image_pwrite(struct image *image, uint64_t offset, const void *from, uint64_t bytes);
int image_flush(struct image *image);
int image_discard(struct image *image, uint64_t offset, uint64_t bytes);
int image_zero(struct image *image, uint64_t offset, uint64_t bytes, bool unmap);
int image_resize(struct image *image, uint64_t bytes, struct error *err);
int image_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content);
/* The same through the chain: IMAGE_UNALLOCATED never comes back. */
int image_chain_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content);
/* Like image_read, and zeros beyond the end. For reading a backing file. */
int image_read_padded(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);

#endif
