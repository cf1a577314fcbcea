package sim

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateRules = flag.Bool("update", false, "write docs/store-rules.md")

// A storeRule is a rule of the durable store: what it says, and ways to break it, each with
// the test that has to fail then. A rule that cannot be broken says why.
type storeRule struct {
	number  int
	says    string
	broken  []breakage
	without string
}

// A breakage is a bug that breaks a rule, and the test that notices: one of the package in dir,
// or, where dir is "", the simulation.
type breakage struct {
	bug
	dir, test string
}

// known is a breakage by one of the simulation's bugs.
func known(name string) breakage {
	i := slices.IndexFunc(bugs, func(b bug) bool { return b.name == name })
	if i < 0 {
		panic("no bug named " + name)
	}
	return breakage{bug: bugs[i]}
}

func breaks(name, file, was, is, dir, test string) breakage {
	return breakage{bug{name, file, was, is}, dir, test}
}

// storeRules are S-1 to S-27, in order.
var storeRules = []storeRule{
	{number: 1, says: "Sequence numbers are never used again: every acknowledgement state carries the next one, and a start takes the highest of all it finds.", broken: []breakage{
		known("the numbers of settled messages are used again"),
		breaks("the next number is not written", "queue/collect.go", "Next:        lv.next,", "Next:        lv.acks.head,", "", ""),
		breaks("the next number is not read", "persistence/recover.go", "max(lv.next, s.next, s.head, s.deliveredTo+1, s.purgeFloor)", "max(lv.next, s.head, s.deliveredTo+1, s.purgeFloor)",
			"persistence", "TestNextIsAboveEveryNumberEverUsed"),
		breaks("delivery marks do not count as used", "persistence/recover.go", "s.head, s.deliveredTo+1, s.purgeFloor)", "s.head, s.purgeFloor)",
			"persistence", "TestNextIsAboveEveryNumberEverUsed"),
	}},
	{number: 2, says: "The commit marker carries the next id of queues, exchanges and bodies, so that none is handed out twice.", broken: []breakage{
		breaks("the marker says an id that was handed out", "persistence/transaction.go", "d.nextID.Load()+d.idsAhead", "1", "persistence", "TestIDIsNeverHandedOutAgain"),
		breaks("the marker says no more than was handed out when it was written", "persistence/transaction.go", "d.nextID.Load()+d.idsAhead", "d.nextID.Load()", "persistence", "TestIDIsNeverHandedOutAgain"),
	}},
	{number: 3, says: "The record of a declaration reaches the store before the change shows, and the disk no later than the first message stored because of it.", broken: []breakage{
		known("a durable queue is not written down"),
		breaks("a queue shows before its record is handed over", "broker/queues.go", "	if n.durable {\n		n.commit.Store(", "	v.queues.put(spec.Name, n)\n	if n.durable {\n		n.commit.Store(",
			"broker", "TestRecordIsHandedOverBeforeTheChangeShows"),
		breaks("a group takes declarations before it collects", "persistence/committer.go", "	c.collect(g, withAcks)\n	c.takeTopology(g)\n", "	c.takeTopology(g)\n	c.collect(g, withAcks)\n",
			"persistence", "TestDeclarationMadeDuringACollectionIsInTheGroup"),
		breaks("messages are written before declarations", "persistence/group.go",
			"	if err := d.writeUnits(g, false); err != nil {\n		return err\n	}\n	if err := d.writePuts(g); err != nil {\n		return err\n	}\n",
			"	if err := d.writePuts(g); err != nil {\n		return err\n	}\n	if err := d.writeUnits(g, false); err != nil {\n		return err\n	}\n",
			"persistence", "TestDeclarationsAreWrittenBeforeMessages"),
	}},
	{number: 4, says: "A reply that rests on a change under way, somebody else's too, waits for its commit.", broken: []breakage{
		breaks("a redeclaration does not wait", "broker/queues.go", "	v.b.Counters.QueuesDeclared.Add(1)\n	return n.q, n.commit.Load().pending(), nil\n}\n\n// checkServerNamed", "	v.b.Counters.QueuesDeclared.Add(1)\n	return n.q, nil, nil\n}\n\n// checkServerNamed",
			"broker", "TestRepliesWaitForTheCommitTheyRestOn"),
		breaks("the use of a queue does not wait for its declaration", "broker/queues.go", "	if err := n.checkAccess(owner); err != nil {\n		return nil, nil, err\n	}\n	return n.q, n.commit.Load().pending(), nil", "	if err := n.checkAccess(owner); err != nil {\n		return nil, nil, err\n	}\n	return n.q, nil, nil",
			"broker", "TestRepliesWaitForTheCommitTheyRestOn"),
		breaks("a second binding does not wait for the first", "broker/bindings.go", "		c = v.lastBind.pending()\n", "		c = nil\n", "broker", "TestRepliesWaitForTheCommitTheyRestOn"),
		breaks("a second delete does not wait for the first", "broker/queues.go", "		return 0, v.lastDelete.pending(), nil", "		return 0, nil, nil", "broker", "TestRepliesWaitForTheCommitTheyRestOn"),
	}},
	{number: 5, says: "A binding record names the incarnations of both ends and is garbage without them; of what is deleted, the owner goes first.", broken: []breakage{
		breaks("a binding follows a name to its successor", "persistence/recover.go", "		if ok && there && source == b.VHost+\"\\x00\"+b.Binding.Source && destination == b.VHost+\"\\x00\"+b.Binding.Destination {", "		if ok || there || source == destination {", "persistence", "TestBindingOfAPredecessorIsDropped"),
		breaks("a queue's record goes after its bindings", "broker/bindings.go",
			"	if n.durable {\n		r.records = append(r.records, topology.Queue{ID: n.q.ID(), Spec: spec})\n	}\n	r.queues = append(r.queues, n)\n	for _, b := range v.bindings.RemoveDestination(binding.Queue, spec.Name) {\n		v.unbind(r, b)\n	}\n",
			"	r.queues = append(r.queues, n)\n	for _, b := range v.bindings.RemoveDestination(binding.Queue, spec.Name) {\n		v.unbind(r, b)\n	}\n	if n.durable {\n		r.records = append(r.records, topology.Queue{ID: n.q.ID(), Spec: spec})\n	}\n",
			"broker", "TestQueueWithManyBindingsIsDeletedInSeveralUnits"),
	}},
	{number: 6, says: "Every transaction is a group with a number of its own and is measured before anything is set.", broken: []breakage{
		breaks("transactions are not measured", "persistence/transaction.go", "	return count+ownOperations < t.d.maxCount && bytes+ownBytes < t.d.maxBytes", "	return count+bytes >= 0", "persistence", "TestManyStatesAreSpreadOverTransactions"),
		breaks("a group has one number, whatever it takes", "persistence/transaction.go", "	d.group = group\n	d.sequence", "	d.group = max(d.group, 1)\n	d.sequence", "persistence", "TestEveryMessageNotSettledIsFoundAgain"),
	}},
	{number: 7, says: "What a transaction of a client does reaches the disk together: no collection begins in its middle, and one that begins afterwards takes all of it.", broken: []breakage{
		breaks("a collection may begin in the middle", "persistence/store.go", "	s.gate.RLock()\n	defer s.gate.RUnlock()\n", "", "persistence", "TestNothingIsCollectedWhileSomethingIsDoneTogether"),
		breaks("the collection holds no gate", "persistence/committer.go", "	c.s.gate.Lock()\n	defer c.s.gate.Unlock()\n", "", "persistence", "TestNothingIsCollectedWhileSomethingIsDoneTogether"),
		breaks("a group ends in its middle", "persistence/committer.go", "	if whole {\n		b.MaxBytes, b.MaxPuts = 0, 0\n	}\n", "", "persistence", "TestWhatIsDoneTogetherIsStoredTogether"),
		breaks("the acknowledgements of a transaction go later", "persistence/committer.go", "	c.takeQueues(withAcks || whole)", "	c.takeQueues(withAcks)", "persistence", "TestAcknowledgementsDoneTogetherDoNotWait"),
	}},
	{number: 8, says: "A confirm is born with the publisher's own hold, each store adds one, and the last release answers.", broken: []breakage{
		known("a confirm goes out when its message is collected, before the commit"),
		known("a commit confirms what came after it was collected"),
		known("a confirm is released twice"),
		known("a confirm precedes its return"),
		breaks("a confirm is born without a hold", "message/confirm.go", "	c.holds.Store(1)\n", "", "", ""),
		breaks("a queue that stores does not hold the confirm", "queue/publish.go", "	p.Confirm.Hold()\n", "	if p.Transfer != nil {\n		p.Confirm.Hold()\n	}\n", "", ""),
		breaks("a refusal answers at once", "message/confirm.go", "		c.rejected.Store(true)\n", "		c.rejected.Store(true)\n		var now Wakes\n		c.Release(&now)\n", "", ""),
	}},
	{number: 9, says: "A dead letter is settled at its source with, and never before, its last target; whatever ends an unstored entry lets go of what waited for it.", broken: []breakage{
		known("a letter is settled at its source before its target has it"),
		known("a letter is settled at its source when it leaves"),
		known("a letter that was never stored forgets its publisher"),
		known("a letter under way is read again as ready"),
	}},
	{number: 10, says: "A record is deleted in the first group by which the acknowledgement of all that is in it is on disk.", broken: []breakage{
		breaks("a record is never deleted", "persistence/group.go", "	tombstones = append(tombstones, d.newlyDead(g.batch.Group, d.tombstones-len(tombstones))...)\n", "	tombstones = nil\n", "persistence", "TestRecordIsDeletedWhenItsLastMessageIsSettled"),
		breaks("a record is deleted with its first message", "persistence/index.go", "		if s.record.live == 0 {\n			x.bury(s.record)\n		}\n	}\n	lv.compact()", "		if n > 0 {\n			x.bury(s.record)\n		}\n	}\n	lv.compact()",
			"persistence", "TestRecordIsDeletedWhenItsLastMessageIsSettled"),
	}},
	{number: 11, says: "The first consume or get of a durable queue in a run is on disk before it is answered; after an unclean end everything in such a queue counts as delivered.", broken: []breakage{
		known("restored messages count as never delivered"),
		breaks("nobody waits for the mark", "connection/basic_consume.go", "	if q.FirstUse() {\n		under = until(ch.c.b.Barrier(q))\n	}\n", "	q.FirstUse()\n", "", ""),
		breaks("who comes second does not wait", "queue/queue.go", "	if !q.durable || q.used == usedStored {", "	if !q.durable || q.used != unused {", "queue", "TestEveryoneWaitsUntilTheFirstUseIsOnDisk"),
		breaks("the mark is not written", "queue/collect.go", "HadConsumer: q.used != unused,", "HadConsumer: false,", "", ""),
		breaks("an unclean end is taken for a clean one", "persistence/recover.go", "	r.clean, r.previous = r.d.run.clean, r.d.run.number", "	r.clean, r.previous = true, r.d.run.number", "persistence", "TestRedeliveredMarksAfterCleanAndUncleanEnds"),
	}},
	{number: 12, says: "A duplicate that a deduplication window drops is confirmed when its original is stored; a value is on disk with the message that brought it, or neither is.", broken: []breakage{
		breaks("a duplicate is confirmed at once", "broker/window.go", "			if f := w.flights[v.flight]; f != nil {\n				f.wait(confirm)\n			}\n", "", "broker", "TestDuplicateIsConfirmedWhenTheOriginalIsStored"),
		breaks("an original is confirmed before its value is on disk", "broker/window.go", "	if w.disk {\n		f.wait(confirm)\n	}\n", "", "broker", "TestWindowOnDiskIsStoredWithItsMessages"),
		breaks("what was refused is remembered", "broker/originals.go", "			o.window.refuse(o.number)\n", "			_ = o\n", "broker", "TestDuplicateIsConfirmedWhenTheOriginalIsStored"),
	}},
	{number: 13, says: "A purge is decided at once, and purge-ok of a durable queue waits for its commit.", broken: []breakage{
		known("a purge takes what is out"),
		known("a purge forgets what is on disk"),
		breaks("purge-ok does not wait", "connection/queue_class.go", "		change = until(c.b.Barrier(q))\n", "", "connection", "TestPurgeIsOnDiskBeforeItIsAnswered"),
	}},
	{number: 14, says: "A reference carries its expiry and flags, a body its length and publish time, all in the directory of its record.", broken: []breakage{
		breaks("expiry is not in the directory", "persistence/move.go", "	if r.expiry != 0 {\n		flags |= refExpires\n	}\n", "", "persistence", "TestDirectoryTellsExpiryAndLengthWithoutABody"),
		breaks("the flags of the first reference hold for all", "persistence/record.go", "expiry: p.Expiry, body: e.bodies, redelivered: p.Redelivered}", "expiry: puts[0].Expiry, body: e.bodies, redelivered: puts[0].Redelivered}", "persistence", "TestDirectoryTellsExpiryAndLengthWithoutABody"),
	}},
	{number: 15, says: "What has to stay in the tree stays small, in parts if need be, and nothing but batch records reaches the value log.", broken: []breakage{
		breaks("anything may reach the value log", "persistence/transaction.go", "if k := o.key[0]; k != keyJournal && k != keyChunk && k != keyBody {", "if o.key == nil {", "persistence", "TestLargeValueOutsideABatchRecordIsRefused"),
		breaks("a declaration is one value", "persistence/operations.go", "	parts := max(1, (len(value)+metadataPart-1)/metadataPart)\n	for n := range parts {\n		piece := value[n*metadataPart : min((n+1)*metadataPart, len(value))]", "	parts := 1\n	for n := range parts {\n		piece := value",
			"persistence", "TestLongDeclarationIsKeptInPartsThatGoWithIt"),
	}},
	{number: 16, says: "Delayed messages are kept with others that are due at about the same time; one that moves is settled where it was in the transaction that has it where it goes.", broken: []breakage{
		breaks("a delayed message is settled before it has moved", "queue/delayed.go", "q.await(Put{Message: e.msg, Transfer: t}, e.expiry, out)", "q.await(Put{Message: e.msg}, e.expiry, out)", "queue", "TestDelayedMessagesAgreeWithANaiveModel"),
		breaks("a delayed message stays when it moves", "queue/delayed.go", "\tt.Release(out)\n", "", "queue", "TestDelayedMessagesAgreeWithANaiveModel"),
		breaks("what waits at an exchange is nobody's", "persistence/recover.go", "\t\tr.queues[queue.ID(rec.ID)] = &recovered{} // for messages that wait there\n", "", "persistence", "TestMessagesThatWaitAtAnExchangeAreThereAfterACrash"),
	}},
	{number: 17, says: "A body that several queues share goes to the journal, once; only what no other queue shares earns a queue a chunk.", broken: []breakage{
		breaks("shared bodies go to chunks", "persistence/split.go", "	return !shared && puts[i].Message.BodyBytes() <= maxInlineBody", "	return (shared || !shared) && puts[i].Message.BodyBytes() <= maxInlineBody", "persistence", "TestQueueWithEnoughOfItsOwnGetsAChunk"),
		breaks("a body is written for each of its queues", "persistence/record.go", "	shared := len(puts) > 0 && puts[0].Queue != puts[len(puts)-1].Queue\n", "	shared := false\n", "persistence", "TestBodyInSeveralQueuesIsEncodedOnce"),
	}},
	{number: 18, says: "A huge body is kept in parts that no transaction is too small for.", broken: []breakage{
		breaks("bodies are not parted", "persistence/record.go", "	if x.payload > maxInlineBody && !e.whole {", "	if x.payload < 0 {", "persistence", "TestHugeBodyIsKeptInParts"),
		breaks("the parts stay when the body is gone", "persistence/bodies.go", "		for n := range b.parts {\n", "		for n := range b.parts - 1 {\n", "persistence", "TestHugeBodyIsKeptInParts"),
	}},
	{number: 19, says: "Every transaction leaves its number in a slot, and a start refuses a gap.", broken: []breakage{
		breaks("gaps are not looked for", "persistence/recover.go", "r.readSchema, r.readMarker, r.readSlots, r.readCatalog", "r.readSchema, r.readMarker, r.readCatalog", "persistence", "TestGapInTheGroupNumbersIsRefused"),
		breaks("a log cut short is not noticed", "persistence/transaction.go", "	d.sequence.write(group)\n", "", "persistence", "TestDamageInTheMiddleOfTheLogIsNoticed"),
	}},
	{number: 20, says: "A record is known before its transaction commits; what a sweep found is looked at again before it is deleted; what is damaged is never swept.", broken: []breakage{
		breaks("what the sweep saw is deleted", "persistence/operations.go", "		if !d.needed(k) {", "		if k != nil {", "persistence", "TestSweepDeletesWhatCameBack"),
		breaks("the sweep passes over chunks", "persistence/collector.go", "{keyState, keyJournal, keyChunk, keyPage,", "{keyState, keyJournal, keyPage,", "persistence", "TestSweepLooksAtEverythingThatCarriesAnID"),
		breaks("the sweep passes over states", "persistence/collector.go", "{keyState, keyJournal, keyChunk, keyPage,", "{keyJournal, keyChunk, keyPage,", "persistence", "TestSweepLooksAtEverythingThatCarriesAnID"),
		breaks("the sweep passes over references to bodies", "persistence/collector.go", "keyCounts, keyBody, keyBodyRef, keyWindow, keyHistory} {", "keyCounts, keyBody, keyWindow, keyHistory} {", "persistence", "TestSweepLooksAtEverythingThatCarriesAnID"),
		breaks("the sweep passes over delivery counts", "persistence/collector.go", "keyPage, keyCounts, keyBody,", "keyPage, keyBody,", "persistence", "TestSweepLooksAtEverythingThatCarriesAnID"),
		breaks("the sweep passes over windows", "persistence/collector.go", ", keyWindow, keyHistory} {", ", keyHistory} {", "persistence", "TestSweepLooksAtEverythingThatCarriesAnID"),
		breaks("damaged records are deleted", "persistence/index.go", "	if r.quarantined || r.buried {\n		return\n	}\n	if r.chunk == nil {\n		if x.records", "	if r.buried {\n		return\n	}\n	if r.chunk == nil {\n		if x.records", "persistence", "TestDamagedBodyIsFoundWhenItIsRead"),
	}},
	{number: 21, says: "The store knows which record a position is in; a read that finds its record gone asks again, and the queue takes what comes by position.", broken: []breakage{
		known("what was settled is read again as ready"),
		known("what is read goes behind what came later"),
		breaks("a record that was moved is taken for damage", "persistence/fetch.go", "			if errors.Is(err, errGone) && p.record != lost {", "			if errors.Is(err, errGone) && p.record != lost && lost != nil {", "persistence", "TestReadFollowsWhatWasMoved"),
		breaks("a read of a deleted queue finds nothing", "persistence/fetch.go", "			return nil, ErrDropped\n", "			return nil, nil\n", "persistence", "TestStoredMessagesAreReadBackInOrder"),
		breaks("who waits for a read is not told of its failure", "queue/reading.go", "				w(err)\n", "				w(nil)\n", "queue", "TestWhoWaitsForAReadIsToldOfItsFailure"),
	}},
	{number: 22, says: "A chunk is written before what it was made of is deleted, and wins over it meanwhile.", broken: []breakage{
		breaks("what was moved is found twice", "persistence/recover_journal.go", "			if !lv.alive(f.seq) || lv.cover(f.seq) != nil {", "			if !lv.alive(f.seq) {", "persistence", "TestChunkWinsOverTheRecordItWasMadeOf"),
		breaks("chunks are not counted", "persistence/recover_chunks.go", " && !suspicious && lv.untouched(ranges[0]) {", " && !suspicious {", "persistence", "TestChunkWithHolesIsCountedExactly"),
	}},
	{number: 23, says: "A queue that the limit of a group cut short goes behind the others; one that was collected enlists again; acknowledgements alone wake nobody.", broken: []breakage{
		breaks("a queue that was cut short is not collected again", "queue/collect.go", "				return true // and stay enlisted", "				return false", "", ""),
		breaks("a queue that was collected is still enlisted", "queue/collect.go", "	q.enlisted = false\n	return false", "	return false", "", ""),
		breaks("a queue that was cut short stays first", "persistence/committer.go", "c.left = append(append([]queue.Collector(nil), c.turn[reached:]...), c.left...)", "c.left = append(c.left, c.turn[reached:]...)", "persistence", "TestQueueThatWasCutShortGoesToTheTail"),
		breaks("acknowledgements wake the committer", "persistence/committer.go", "	return len(c.left)+len(s.enlisted)+", "	return len(s.settled)+len(c.left)+len(s.enlisted)+", "persistence", "TestAcknowledgementsWaitATenthOfASecondAtMost"),
	}},
	{number: 24, says: "A queue enlists itself when it turns dirty; whoever carries out what a queue asked for ends with a flush.", broken: []breakage{
		breaks("a queue with something to store is silent", "queue/publish.go", "	if !q.enlisted {\n		q.enlisted = true\n		q.store.Enlist(q)\n	}\n", "	q.enlisted = true\n", "", ""),
		breaks("a queue with something settled is silent", "queue/settle.go", "		q.store.EnlistSettled(q)\n", "", "", ""),
		breaks("a tick does not flush", "broker/timers.go", "	b.Flush(now, out)\n	return b.timers.wait()", "	return b.timers.wait()", "broker", "TestWhoIsGivenSomethingByATimerIsWoken"),
		breaks("room that came back does not flush", "connection/connection.go", "		c.b.Flush(now, &effects)\n	}\n	if reader {", "	}\n	if reader {", "connection", "TestRoomThatCameBackIsFlushed"),
	}},
	{number: 25, says: "Only connections that published wait for the disk, after they have been answered, and a failed store lets all of them go.", broken: []breakage{
		breaks("everybody waits", "connection/connection.go", "	published, c.published = c.published && unstored, false\n	return published", "	c.published = false\n	return true || unstored", "server", "TestOnlyPublishersWaitForTheDisk"),
		breaks("nobody waits", "persistence/store.go", "func (s *Store) roomy() bool { return s.unstored.Load() <= s.maximum && !s.crowded.Load() }", "func (s *Store) roomy() bool { return true }", "persistence", "TestPublishersWaitForRoom"),
		breaks("a failure leaves publishers waiting", "persistence/store.go", "		close(s.failed)\n		s.openRoom()\n", "		close(s.failed)\n", "persistence", "TestFailureLetsPublishersGo"),
	}},
	{number: 26, says: "Readers use the read transaction that the committer began after its last commit, and so never wait for a sync.", broken: []breakage{
		breaks("a reader begins a transaction of its own", "persistence/view.go", "	if v.now != nil {\n		v.now.refs++\n	}\n	return v.now\n", "	if v.now == nil {\n		return nil\n	}\n	return &view{txn: v.db.NewTransaction(false), group: v.now.group, refs: 1}\n", "persistence", "TestReadsDoNotWaitForACommit"),
		breaks("the view is never renewed", "persistence/transaction.go", "	d.views.renew(group)\n", "", "persistence", "TestStoredMessagesAreReadBackInOrder"),
	}},
	{number: 27, says: "Transient messages leave memory by way of copies that are forgotten with them; a client that reads nothing of what it is sent is not read.", broken: []breakage{
		known("what leaves memory has not been copied yet"),
		known("what could not be copied leaves memory"),
		known("a copy stays when its messages have gone"),
		known("a copy is forgotten when one of its messages expires"),
		known("a copy of what is out stays when it is settled"),
		breaks("a full buffer stops nobody", "connection/outbound.go", "func (o *Outbound) replyLimit() int { return 4 * o.highWater }", "func (o *Outbound) replyLimit() int { return 1 << 40 }", "connection", "TestClientThatReadsNothingIsNotReadEither"),
	}},
}

// TestEveryStoreRuleIsCited holds that every rule has a bug that breaks it and that can still be
// planted, and that the test which finds it says which rule it is about. Whether they do find
// them is TestBrokenRulesAreNoticed's business, which takes minutes.
func TestEveryStoreRuleIsCited(t *testing.T) {
	for i, r := range storeRules {
		if r.number != i+1 {
			t.Fatalf("S-%d comes after S-%d", r.number, i)
		}
		if (len(r.broken) == 0) == (r.without == "") {
			t.Errorf("S-%d: want bugs, or the reason why there is none", r.number)
		}
		for _, b := range r.broken {
			if _, _, err := b.source(); err != nil {
				t.Error(err)
			}
			if b.dir != "" && !citing(t, b.dir, b.test, r.number) {
				t.Errorf("S-%d: no %s in %s that cites it", r.number, b.test, b.dir)
			}
		}
	}
	const name = root + "/docs/store-rules.md"
	want := rulesText()
	if *updateRules {
		if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s is not what the rules say (%v): run this test with -update", name, err)
	}
}

// citing tells whether the package in dir has a test whose comment, or the comment at the end of
// whose first line, cites the rule.
func citing(t *testing.T, dir, test string, rule int) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	cites := regexp.MustCompile(fmt.Sprintf(`\bS-%d\b`, rule))
	for _, file := range files {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Name.Name == test {
				return cites.MatchString(fn.Doc.Text())
			}
		}
	}
	return false
}

// rulesText is docs/store-rules.md.
func rulesText() string {
	var b strings.Builder
	b.WriteString(`# Rules of the durable store

Each closes a way to lose, invent or repeat a message, found by thinking a crash or an
interleaving through. Comments cite them by their numbers. For each there are bugs that break
it, and a test that fails then, which is tried by

    go test ./integration/sim -run 'PlantedBugs|BrokenRules' -sim.planted

This page is written by TestEveryStoreRuleIsCited in integration/sim, where the bugs are.

| rule | a bug that breaks it | is found by |
|---|---|---|
`)
	for _, r := range storeRules {
		fmt.Fprintf(&b, "| **S-%d** %s | ", r.number, r.says)
		if r.without != "" {
			fmt.Fprintf(&b, "%s | |\n", r.without)
			continue
		}
		var names, tests []string
		for _, p := range r.broken {
			names = append(names, p.name)
			test := "the simulation"
			if p.dir != "" {
				test = p.dir + ": " + p.test
			}
			if !slices.Contains(tests, test) {
				tests = append(tests, test)
			}
		}
		fmt.Fprintf(&b, "%s | %s |\n", strings.Join(names, "; "), strings.Join(tests, "; "))
	}
	return b.String()
}

// TestBrokenRulesAreNoticed plants a bug at a time and runs the test that has to notice. The bugs
// that the simulation has of its own are TestPlantedBugsAreFound's.
func TestBrokenRulesAreNoticed(t *testing.T) {
	if !*planted {
		t.Skip("builds a package's tests once for each bug; ask for it with -sim.planted")
	}
	which, of := share(t)
	at := 0
	for _, r := range storeRules {
		for _, b := range r.broken {
			if at++; at%of != which {
				continue
			}
			if b.dir == "" && slices.ContainsFunc(bugs, func(o bug) bool { return o.name == b.name }) {
				continue
			}
			t.Run(fmt.Sprintf("S-%d_%s", r.number, strings.ReplaceAll(b.name, " ", "_")), b.noticed)
		}
	}
}

func (b *breakage) noticed(t *testing.T) {
	t.Parallel()
	dir, args := b.dir, []string{"-test.run", "^" + b.test + "$", "-test.timeout", "30s"}
	if dir == "" {
		dir, args = "integration/sim", []string{"-test.run", "TestNothingIsLost", "-sim.seeds", "600", "-test.timeout", "120s"}
	}
	run := exec.Command(b.plant(t, dir), args...)
	run.Dir = filepath.Join(root, dir)
	out, err := run.CombinedOutput()
	if err == nil {
		t.Fatalf("nobody noticed:\n%s", out)
	}
	if strings.Contains(string(out), "no tests to run") {
		t.Fatalf("there is no %s", b.test)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") || strings.Contains(line, "panic:") || strings.Contains(line, "seed") {
			t.Log(strings.TrimSpace(line))
			break
		}
	}
}
