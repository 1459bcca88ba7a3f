/*
 * An ATA or ATAPI device, as IDE and AHCI see it: task file in, data and task file out.
 *
 * A controller decodes a command (ata_decode, and for PACKET atapi_decode), brings memory for its
 * data, runs it (ata_run), and tells the guest of the outcome. How data travels (data register, bus
 * master, FIS) is the controller's business; which data, and every error, is decided here.
 *
 * Under the machine lock.
 */
#ifndef STORAGE_ATA_H
#define STORAGE_ATA_H

#include "state/state.h"
#include "storage/ata_regs.h"
#include "storage/drive.h"

#define ATA_MAX_MULTIPLE  16
#define ATA_BUFFER_BYTES  4096 /* of data that is not the medium's */
#define ATA_SERIAL_BYTES  20
#define ATA_MODEL_BYTES   40
#define ATA_QUEUE_DEPTH   32
#define ATA_PACKET_BYTES  12
#define ATAPI_BLOCK_BYTES 2048

/* What the host wrote: registers with two bytes hold the previous one above the current one, and
 * `lba` is LBA(47:0) as 48-bit commands have it. After a command: what it may read. */
struct ata_taskfile {
	uint16_t feature, count;
	uint64_t lba;
	uint8_t device, command;
	uint8_t status, error;
};

struct ata_device_state {
	uint8_t multiple; /* sectors in a DRQ block of READ MULTIPLE; 0: not set */
	bool write_cache, look_ahead, smart, sleeping, standby;
	uint8_t transfer_mode; /* of SET FEATURES */
	uint8_t heads, sectors;
	/* The NCQ command that failed: log page 10h. */
	bool ncq_failed;
	uint8_t ncq_tag, ncq_status, ncq_error;
	uint8_t reserved[3];
	uint64_t ncq_lba;
	/* ATAPI: what is told next. */
	uint8_t sense_key, asc, ascq;
	bool medium_locked, tray_open;
	uint8_t attention; /* unit attentions that wait: enum atapi_attention */
	uint8_t event;     /* media event that GET EVENT STATUS NOTIFICATION will tell */
	uint8_t reserved1;
};

struct ata_identity {
	const char *serial; /* up to ATA_SERIAL_BYTES; may be NULL */
	const char *model;  /* up to ATA_MODEL_BYTES; may be NULL */
	bool is_packet;     /* an optical drive */
	bool is_serial;     /* behind SATA */
	/* The guest opened the tray or closed it; under the machine lock. May be NULL. */
	void (*tray_moved)(void *context, bool open);
	void *context;
};

struct ata_device {
	struct ata_device_state state;
	struct ata_identity identity; /* immutable */
	struct machine *machine;
	struct drive drive;
	uint8_t buffer[ATA_BUFFER_BYTES]; /* of the one command that is not NCQ */
};

enum ata_protocol {
	ATA_PROTOCOL_NONE,
	ATA_PROTOCOL_PIO,
	ATA_PROTOCOL_DMA,
	ATA_PROTOCOL_NCQ,
	ATA_PROTOCOL_PACKET, /* a packet of ATA_PACKET_BYTES decides, see atapi_decode */
	ATA_PROTOCOL_RESET,  /* DEVICE RESET: the controller gives the signature */
	ATA_PROTOCOL_DIAGNOSTIC,
};

enum ata_work {
	ATA_WORK_NOTHING, /* finished when it was decoded */
	ATA_WORK_BUFFER,  /* the device's buffer to the host */
	ATA_WORK_MEDIUM,
	ATA_WORK_FLUSH,
	ATA_WORK_TRIM, /* ranges from the host, then discards */
};

struct ata_command {
	/* Filled by decoding. */
	struct ata_device *device;
	struct ata_taskfile tf; /* input, and the outcome */
	enum ata_protocol protocol;
	enum ata_work work;
	bool to_device; /* direction of the data */
	bool is_packet;
	uint8_t tag;            /* NCQ */
	uint32_t drq_bytes;     /* of one block of PIO data */
	uint64_t offset, bytes; /* of the medium, or of the buffer from its start */
	unsigned flags;         /* of the block request */

	/* The controller's: called when what ata_run began has ended; tf.status and tf.error tell
	 * how. May be called from ata_run. */
	void (*done)(struct ata_command *command);
	void *context;

	/* Of ata_run. */
	struct drive_transfer transfer;
	uint16_t range, nr_ranges;
};

/* `image` may be NULL. `name` outlives the device. Returns 0, or fills `err`. */
int ata_create(struct ata_device **device, const char *name, const struct ata_identity *identity,
	struct machine *machine, struct block_device *image, struct error *err);
/* Not under the machine lock; nothing is in flight. Takes NULL. */
void ata_destroy(struct ata_device *device);

/* Power on or a hardware reset. Nothing is in flight. */
void ata_reset(struct ata_device *device);
/* A software reset: settings stay. */
void ata_soft_reset(struct ata_device *device);

/* Registers after a reset (ATA8-ACS 6.1; the device register is 0). */
void ata_signature(const struct ata_device *device, struct ata_taskfile *tf);

/* `work` is ATA_WORK_NOTHING and tf.status and tf.error are set if the command has ended. */
void ata_decode(struct ata_device *device, struct ata_command *command);
void atapi_decode(struct ata_device *device, struct ata_command *command,
	const uint8_t packet[ATA_PACKET_BYTES], uint32_t room);

/*
 * Runs `bytes` of the command's data from `at`, or the command without data. `scatter` holds
 * exactly `bytes`. The controller calls drive_run afterwards.
 */
void ata_run(struct ata_command *command, struct scatter *scatter, uint64_t at, uint64_t bytes);

/* Ends the command with an error of the controller's. */
void ata_fail(struct ata_command *command, uint8_t error);
void ata_succeed(struct ata_command *command);
/* The medium failed `bytes` into the command: -errno to error bits, and where. */
void ata_fail_medium(struct ata_command *command, uint64_t at, int result);

/* IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data, into the buffer. */
void ata_identify(struct ata_device *device);

/* A medium into an empty device; an optical drive tells its guest. Under the machine lock. Returns
 * 0, or fills `err`. */
int ata_insert(struct ata_device *device, struct block_device *image, struct error *err);
int atapi_insert(struct ata_device *device, struct block_device *image, struct error *err);
/* The medium, for the caller to close; NULL if there was none. */
struct block_device *atapi_remove(struct ata_device *device);
/* The button at the front: false if the guest has locked the door; it is told of the press. */
bool atapi_press_eject(struct ata_device *device);
/* Sense data for a command that failed. */
void atapi_fail(struct ata_command *command, uint8_t key, uint16_t asc_ascq);

#endif
