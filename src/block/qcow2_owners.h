/*
 * Who owns each host cluster: metadata always, so that nothing hostile in an image makes us write
 * data over it; in tests data as well, so that no cluster is ever handed out twice.
 * A hash table; not thread-safe.
 */
#ifndef BLOCK_QCOW2_OWNERS_H
#define BLOCK_QCOW2_OWNERS_H

#include <stdbool.h>
#include <stdint.h>

enum qcow2_owner {
	QCOW2_OWNER_NONE,
	QCOW2_OWNER_HEADER,
	QCOW2_OWNER_REFTABLE,
	QCOW2_OWNER_REFBLOCK,
	QCOW2_OWNER_L1,
	QCOW2_OWNER_L2,
	QCOW2_OWNER_SNAPSHOTS,
	QCOW2_OWNER_DATA,
};

struct qcow2_owners {
	uint64_t *slots; /* cluster << 8 | owner; 0: empty */
	uint64_t capacity, used, removed;
};

void qcow2_owners_finish(struct qcow2_owners *owners);
enum qcow2_owner qcow2_owners_get(const struct qcow2_owners *owners, uint64_t cluster);
/* OWNER_NONE removes. Returns 0 or -ENOMEM. */
int qcow2_owners_set(struct qcow2_owners *owners, uint64_t cluster, enum qcow2_owner owner);
const char *qcow2_owner_name(enum qcow2_owner owner);

#endif
