/* What the programs and the reader share: the mapped memory and the control events.
 * services/capture/layout.py is the same layout in Python; a unit test compares the two. */
#ifndef PLAINWIRE_SHARED_H
#define PLAINWIRE_SHARED_H

#include "record.h"

/* The largest payload of one record, and how many records one transfer may become. */
#define PIECE 65536ULL
#define RECORD_ROOM (sizeof(struct record) + PIECE)

/* One ring of records, back to back and of exactly their own size. Positions only grow; the byte at
 * position p lies at data[p % size]. The record that crosses the end goes on behind it, and `wrap`
 * says how far: that many bytes at the start of the data are then unused. Between a reader's two
 * looks everything below `head` is complete where `committed` (read first) equals it. */
struct ring {
    __u64 head;      /* reserved */
    __u64 committed; /* written */
    __u64 wrap;
    __u64 discarded; /* records whose payload could not be read: flagged, to be left out */
    __u64 reserved[4];
    /* This shard's totals, whichever ring took the records. */
    __u64 seen_bytes;
    __u64 seen_records;
    __u64 submitted_bytes;
    __u64 connections;
    __u64 lost[LOST_REASONS];
    /* The reader's own page. */
    __u64 tail __attribute__((aligned(4096)));
    __u64 reader[511];
};

#define FLAG_DISCARDED 1
#define FLAG_CANARY 2

/* A process's byte: what to do with it, and a generation, so that a reused pid is not mistaken.
 * What the canary's process says is in the rings, flagged, and in no sum. */
enum { VERDICT_DEFAULT, VERDICT_INCLUDE, VERDICT_EXCLUDE, VERDICT_CANARY, VERDICT_MASK = 3 };
enum { MARK_CONNECTED = 4, MARK_GENERATION = 8, GENERATION_MASK = 0xf8 };

#define WHOLE 16384
#define CLASSES 16

struct shared {
    __u64 waiting; /* the reader sleeps: ring the bell */
    __u64 calls_refused;
    __u64 connections_refused;
    __u64 control_refused;
    __u64 tails_refused;
    __u64 connections_shed;
    __u64 wire_refused;
    __u64 calls_filtered;  /* of processes that are not captured, at files that others use, too */
    __u64 calls_unmatched; /* they ended, and no entry of theirs was known */
    __u64 births_refused;  /* a TLS object was made: its connection will seem to begin midway */
    __u64 names_refused;   /* a process has no name of its own: its threads' names serve */
    __u64 calls_late;      /* they ended well after their connection's end had begun */
    __u64 late_bytes;      /* of these: they belong to no connection, and are in no other sum */
    __u64 reserved[3];
    /* By class of workloads, of WHOLE: connections whose hash is that near its end are shed. */
    __u64 withheld[CLASSES];
    __u64 taken[CLASSES]; /* bytes that were submitted; those of the first class are not counted */
    __u64 unused[464];
};

/* In the order in which they are read where two rings mix theirs. */
enum { CONTROL_BELL, CONTROL_OPENED, CONTROL_ADDRESSED, CONTROL_CLOSED, CONTROL_EXITED };
enum { CLOSED_FREED, CLOSED_REUSED, CLOSED_SHED };
/* What an opened connection is besides. */
enum { OPENED_MID_CONNECTION = 1, OPENED_SHED = 2 };

/* Both ends of a connection, proven: `family` is AF_INET, whose addresses are the first 4 bytes, or
 * AF_INET6. Ports are in host order. */
struct addresses {
    __u8 local[16];
    __u8 peer[16];
    __u16 local_port;
    __u16 peer_port;
    __u16 family;
    __u16 unused;
};

struct control {
    __u8 kind;
    __u8 detail; /* opened: what it is besides; closed: why */
    __u16 shard;
    __u32 tgid;
    __u64 connection;
    __u64 boot_ns;
    __u64 ssl;
    union {
        struct {
            __u64 target;
            char process[16];
            __u64 cgroup; /* of version 2, whether it is used or not */
        };
        struct {
            __u64 offset[2];
            __u32 lost[2][LOST_REASONS];
        };
        struct addresses addresses;
    };
};

/* The connection as the reader looks it up when its process has ended. */
struct connection_key {
    __u64 ssl;
    __u32 tgid;
    __u32 unused;
};

/* Once shed a connection stays so; that the reader knows of it is told apart. */
enum { STATE_SHED = 1, STATE_TOLD = 2, STATE_CANARY = 4, STATE_ADDRESSED = 8, CLASS_SHIFT = 4 };

struct connection {
    __u64 id;
    __u64 first_boot_ns;
    __u64 offset[2];
    __u32 lost[2][LOST_REASONS];
    __u32 shard;
    __u8 mid_connection;
    __u8 announced;
    __u8 generation;
    __u8 state; /* STATE_…, and its class above them */
    __u32 references; /* beyond the first: that many frees do not end it */
    __u32 target;
};

/* Where fields of the kernel's own structs lie: services/capture/btf.py, in the same order. */
struct kernel_layout {
    __u32 task_files;
    __u32 files_table;
    __u32 table_size;
    __u32 table_files;
    __u32 file_inode;
    __u32 file_private;
    __u32 inode_mode;
    __u32 socket_type;
    __u32 socket_sock;
    __u32 sock_protocol;
    __u32 sock_family;
    __u32 sock_peer_port;
    __u32 sock_local_port;
    __u32 sock_peer;
    __u32 sock_local;
    __u32 sock_peer6;
    __u32 sock_local6;
    __u32 unused;
};

/* Of a connection that lost something since the last tick. */
struct tail {
    __u64 offset[2];
    __u32 lost[2][LOST_REASONS];
    __u64 shard;
};

/* What is told of what was seen: that it came in; that the call is for sockets only; that it is proof
 * by itself; that it is QUIC; that its process uses a probed library. */
enum { WIRE_RECEIVED = 1, WIRE_SOCKET = 2, WIRE_HELLO = 4, WIRE_QUIC = 8, WIRE_USED = 16 };

/* TLS on the wire. */
struct wire_event {
    __u32 tgid;
    __u32 fd;
    __u8 flags;
    __u8 type;
    __u8 minor;
    __u8 unused;
    __u32 window;
    char process[16];
};

#endif
