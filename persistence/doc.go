// Package persistence keeps what must survive: everything declared, and the durable
// messages of durable queues. It is the only importer of Badger. A Store serves
// queue.Store and topology.Store; one committing goroutine collects from every enlisted
// queue, writes what it got as one synced transaction, and then lets the confirms go.
//
// It knows queues by number and as queue.Collector, decides nothing about messages, and
// never calls into a queue with a lock held, save for the gate of Together, which comes
// before every other lock. Store.mu is a leaf and guards the lists between callers and the
// committer. The collector's lock keeps garbage collection and a backup apart and is held
// with no other. The index of what is where has a lock of its own, another leaf that is held
// for look-ups only: the committer changes the index, the readers ask it.
//
// A mover rewrites what stays in the journal into chunks of its queues, when the journal is
// too full or little of a record is left alive, and makes one of many small chunks. It
// reads for itself and hands the committer what to write; publishers wait when it cannot
// keep up.
//
// Messages are read back by a few goroutines, from the newest read transaction, which the
// committer begins after each commit (S-26). Recovery reads no bodies: a queue is told
// runs of messages and reads them when it needs them.
//
// # Layout
//
// All integers in keys are big-endian, so that keys sort by number.
//
//	00                                      schema: version, oldest reader, node id, created
//	01 kind name or id part(2)              a declared thing (kinds in metadata.go)
//	02 queue(8) level(1)                    acknowledgement state of a level
//	                                        (of an exchange, for messages that wait there: what
//	                                        is queue in these keys is its number then)
//	10 group(8)                             journal record: the messages of one transaction
//	                                        that have no chunk
//	20 queue(8) level(1) first(8) last(8)   chunk: messages of one level; count, payload
//	   count(4) bytes(4) time(6) expiry(6)  bytes, earliest publish time and deadline (Unix ms)
//	   group(8)                             tell recovery all it needs
//	30 queue(8) level(1) page(8)            acknowledgement page, 16384 sequence numbers
//	31 queue(8) level(1) page(8)            delivery counts other than zero, 1024 numbers
//	40 body(8) part(4)                      part of a body that lies by itself: too large for
//	                                        a record, or shared and not to be copied
//	41 body(8) queue(8) level(1) seq(8)     who refers to that body; the value is empty
//	51 exchange(8) record(8) part(2)        what a window of deduplication has seen: hashes (16)
//	                                        with the time they are forgotten
//	52 exchange(8) part(2)                  recent history of an exchange, whole
//	F0 slot(1)                              padding
//	FC                                      the run, and whether it ended cleanly
//	FD slot(2)                              group numbers, at group mod 65536 (S-19)
//	FE                                      last group, journal floor, next id (S-2)
//
// A journal record, a chunk and a part of a body are batch records; a chunk has one section:
//
//	 0  2  magic B4 51
//	 2  1  format version, 2
//	 3  1  flags: bit 0 many sections, bit 1 bodies stored elsewhere; bits 4-7 codec, 0 plain
//	 4  4  CRC-32C of bytes 8 to dirEnd
//	 8  8  group
//	16  4  dirEnd
//	20  …  directory
//	       uvarint base time, Unix ms
//	       uvarint sections, and for each
//	           uvarint queue, uvarint level, uvarint first seq, uvarint references,
//	           and until these are complete
//	               uvarint 2n: n references, 63 at most, each with the next seq and the
//	                   next body, without flags
//	               uvarint 2n+1: n references, each uvarint seq - previous seq,
//	                   varint body - previous body, uvarint flags,
//	                   varint expiry - base time when flag 1 is set
//	       uvarint bodies, and for each
//	           uvarint payload length, uvarint flags,
//	           varint publish time - base time when flag 1 is set,
//	           uvarint length of meta unless flag 2 is set,
//	           uvarint body id and uvarint parts (keys 40) when flag 0 is set,
//	           4 bytes CRC-32C of meta and payload
//	dirEnd bodies back to back, each
//	       meta unless flag 2 is set: then it has that of the body before;
//	       payload as received unless flag 0 is set
//
// Before the first reference of a section comes the seq below its first, and before the
// first of a record the body -1.
//
// A reference has its own expiry and flags and a body its payload length and publish
// time in the directory (S-14), so what is in a record can be told, and expired, without
// touching a body. Each body has its CRC, so that it can be read alone and the rest of a
// damaged record be served; no more than 64 share a meta, and no more are lost with it.
// Meta is a list of tag, length, value; unknown tags are skipped and, when a record is
// rewritten, kept.
//
// Check reads everything in a store that is not in use and tells what is damaged; Repair
// makes one start again that does not, and keeps what it takes out of it in a directory
// named damaged- and the time.
//
// Beside Badger's files a directory has store.lock, with the owner's process id; ballast,
// which is deleted when there is no room to open the store otherwise (space.go); store.seq,
// the last group outside Badger, which turns a silently cut log into an alarm; and, only
// while something is damaged, *.salvage: what Badger cut off a log (salvage.go).
//
// With Options.EncryptionKey everything but those is encrypted, by Badger, from the first
// start on, and spilled messages as well; whatever reads Badger's files beside it decrypts them itself (encryption.go),
// and nothing of them is ever written back in the clear.
//
// # Backups
//
// Backup writes what is in the store at one moment, while the store goes on. The committer
// says when: between two groups, the first of them begun after the call, with the newest
// read transaction (S-26), so that it is what a crash just then would have left. Garbage
// collection is held back and the transaction kept until the end; keys are listed a thousand
// at a time and their values copied one by one, checksums verified, so that neither a mapped
// file nor an iterator is held while whoever takes the backup is slow.
//
// A backup is 8 bytes LVRTBACK and then blocks:
//
//	0  1  kind: H header, D entries, P problem, F failed, E end
//	1  4  length n
//	5  n  payload
//	   4  CRC-32C of the backup up to here, but for the checksums in it: a block that is
//	      missing or has changed places shows as well
//
//	H  format version(4) node id(16) created(8, Unix ms), then as under FE: last group,
//	   journal floor, next id
//	D  uvarint length, key, uvarint length, value, and so on: what is under 00, 01, 02, 30, 31,
//	   10, 20, 40, 41 and FC. About 1 MiB, or one large value.
//	P  a line about something that was damaged when it was saved
//	F  why the backup was given up; the last block then
//	E  entries(8) queues(8) messages(8) their bytes(8) damaged things(8); the last block
//
// It has plain records, whether or not the store is encrypted.
//
// RestoreBackup writes the entries to a new store, in a directory beside the one it is for,
// and has it opened once before it is moved there. The records keep their group numbers:
// the store's go on behind those of the backup, with all slots filled in (S-19), and store.seq
// with them. The node id is a new one.
//
// # What holds
//
//   - Of two records that have a number of a level in their range, the one of the later
//     group decides: a chunk takes over what it was made of, and what is missing from it
//     was settled (S-22). Otherwise ranges of chunks do not overlap (I3).
//   - A message is alive when its record is there, its queue exists, its sequence number
//     is not below the head and its bit is not set in an acknowledgement page. That a
//     record exists proves nothing: Badger's garbage collection brings deleted records
//     back. Deletes are hints, the sweep repeats them.
//   - No confirm before the transaction with the message's reference returned without
//     error, no answer to a declaration before its unit did (I1). A failed sync poisons
//     the store: nothing is confirmed or refused after it.
//   - Every write goes through the committer (I5). Topology goes first in a group (S-3);
//     transactions are measured before anything is set (S-6); every one has its own group
//     number, FE and FD.
//   - Only batch records reach the value log (I6): everything else stays below
//     ValueThreshold, in parts if need be (S-15).
//   - Identifiers of queues, exchanges and bodies come from one counter and are never
//     used again (I7).
//   - A read is never trusted without its checksum (I8).
//   - A body that lies by itself lives by its keys 41, whatever record its messages are in:
//     it goes with the last of them that is settled.
//   - A record is deleted once the acknowledgement state that makes it dead is on disk or
//     goes with the same group (S-10).
//   - Garbage is found however a run ended: what Badger counts of it is lost at a power cut,
//     and is held against the tree after each start (garbage.go). The value log takes what is
//     alive twice at most, and what passes while four memtables fill.
package persistence
