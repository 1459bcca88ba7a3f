/*
 * A count of all references in a qcow2 image, made by walking its tables on disk: what check and
 * repair compare the refcounts with. Trusts nothing it reads.
 */
#ifndef BLOCK_QCOW2_REFERENCES_H
#define BLOCK_QCOW2_REFERENCES_H

#include "block/qcow2.h"

struct qcow2_references {
	struct qcow2 *q;
	struct qcow2_check *check;
	bool mend;            /* drop references that point nowhere, set "copied" flags */
	uint32_t *counts;     /* for each cluster; saturate */
	uint64_t nr_clusters; /* of the file */
};

/* Findings are sentences; only so many are told. */
void qcow2_report(struct qcow2_references *references, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Counts what the guest's tables, the snapshots and the bitmaps refer to; not the refcounts. */
int qcow2_references_count(struct qcow2_references *references, struct error *err);
/* Counts a region; a part outside of the file is a corruption, and returns false. */
bool qcow2_references_add(
	struct qcow2_references *references, uint64_t offset, uint64_t bytes, const char *what);
/* Compares the "copied" flags of the active tables with the counts, or sets them. */
int qcow2_references_flags(struct qcow2_references *references);
void qcow2_references_finish(struct qcow2_references *references);

#endif
