/* The record as it lies in a ring and on the bus: this header, then `length` payload bytes.
 * services/records.py is the same layout in Python; a unit test compares the two. Little-endian. */
#ifndef PLAINWIRE_RECORD_H
#define PLAINWIRE_RECORD_H

enum { DIRECTION_EGRESS = 0, DIRECTION_INGRESS = 1 };

/* Why bytes were lost in the kernel; the order of KERNEL_LOSS_REASONS in services/messages.py. */
enum {
    LOST_RING_FULL,
    LOST_RING_REFUSED,
    LOST_UNREADABLE,
    LOST_SHED,
    LOST_SENT_BY_KERNEL,
    LOST_REASONS
};

struct record {
    __u32 length;       /* payload bytes that follow */
    __u16 shard;        /* from the connection's hash */
    __u8 direction;
    __u8 flags;
    __u64 connection;
    __u64 offset;       /* of the first payload byte, on this connection and direction */
    __u64 boot_ns;      /* a write's entry, a read's exit */
    __u32 lost[LOST_REASONS]; /* of this direction, before this record, cumulative, modulo 2^32 */
    __u32 unused;
};

#endif
