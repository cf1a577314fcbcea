package persistence

import (
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	// Values from here on go to the value log, where they are written once; smaller ones
	// lie inline beside their keys.
	valueThreshold = 4096
	// The memtable holds pointers only. Its size bounds memory, the replay at start and
	// the garbage of a flush; a transaction may take 15 % of it.
	memTableSize = 4 << 20
	// Each table is built in memory, in twice its size and 3 MiB for its index, and while it is
	// synced the next one is begun: a merge may have eight at once.
	tableSize = 2 << 20
	// The last value-log file is read whole at start, and garbage collection works file by
	// file.
	valueLogFileSize = 128 << 20
	// With the filler of transaction.pad the memtable is flushed at least this often,
	// counted in bytes that went to the value log, or as often as a paddingShare of what is
	// alive was written again, so that garbage there stays bounded: by four times the larger
	// of the two.
	paddingInterval = 256 << 20
	paddingShare    = 4
)

// badgerOptions are the options the store lives with. They were measured for this use:
// few, large, short-lived values and a tiny tree.
func badgerOptions(dir string, log *badgerLog, valueLogFile int64) badger.Options {
	o := badger.DefaultOptions(dir).
		// With SyncWrites false and a DB.Sync after each commit, a power cut loses commits
		// whenever the memtable's log was rotated in between: Sync only knows the newest.
		WithSyncWrites(true).
		WithValueThreshold(valueThreshold).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithValueLogFileSize(valueLogFile).
		// Rotate by size only.
		WithValueLogMaxEntries(1 << 30).
		// Compaction is what tells the value log about garbage, so compact early; the tree is
		// small.
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(10).
		WithNumCompactors(2). // the least Badger takes
		WithBaseTableSize(tableSize).
		WithBaseLevelSize(16 << 20).
		// Blocks and indexes are memory-mapped; caches would only copy them. Compression
		// needs a cache, and there is little to compress beside pointers.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		// One writer.
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		// By default a flipped bit in a table comes back as data.
		WithChecksumVerificationMode(options.OnTableAndBlockRead).
		// Its failures are swallowed, an empty value comes back without an error. The
		// checksums of the records do this work.
		WithVerifyValueChecksum(false).
		WithVLogPercentile(0).
		WithCompactL0OnClose(false).
		WithMetricsEnabled(false).
		WithNumGoroutines(1).
		// A program with another one refuses the directory before it reads.
		WithExternalMagic(externalMagic).
		WithLogger(log)
	// By default tables are twice as large on each level.
	o.TableSizeMultiplier = 1
	return o
}
