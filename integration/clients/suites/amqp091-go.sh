# The integration tests of amqp091-go, in the version of this module.

# These cut a connection from the server's side, and know no other way than to list connections
# and delete one through the management API.
tests_that_cut='
TestConnectionRecoveryAutoDeleteExchangeCascade
TestConnectionRecoveryAutoDeleteTopologyForgotten
TestConnectionRecoveryCancelInterrupt
TestConnectionRecoveryChannelIDReservation
TestConnectionRecoveryConsume
TestConnectionRecoveryConsumerNotForgottenAfterFailedResubscribe
TestConnectionRecoveryCustomSASLPlainAuth
TestConnectionRecoveryDeletedQueueSkip
TestConnectionRecoveryExclusiveQueue
TestConnectionRecoveryExhaustionDoesNotPanic
TestConnectionRecoveryLifeCycleNotifyStateChange
TestConnectionRecoveryMultiChannelTopology
TestConnectionRecoveryPublish
TestConnectionRecoverySkipAndContinue
TestConnectionRecoveryTopologyAllEnabled
TestConnectionRecoveryTopologyDisabled
'
# This one raises a memory alarm with rabbitmqctl, and skips itself without
# RABBITMQ_RABBITMQCTL_PATH: TestConnection_Close_WhenMemoryAlarmIsActive

suite() {
    local version
    version=$(cd "$root" && go list -m -f '{{.Version}}' github.com/rabbitmq/amqp091-go) || return
    go_module "github.com/rabbitmq/amqp091-go@$version" && cd "$work/module" || return
    if [ -n "$management_port" ]; then
        # The port is written into its tests.
        sed -i "s/15672/$management_port/" recovery_test.go internal/utils/http.go || return
    else
        needs_management=$tests_that_cut
    fi
    go test -c -tags integration -o suite.test . >&2 || return
    go_lines $(grep -l '^//go:build integration' ./*_test.go)
}
