package check

import amqp "github.com/rabbitmq/amqp091-go"

// Deaths is how often a message died in queue for reason, as its x-death header has it.
func Deaths(d amqp.Delivery, queue, reason string) int64 {
	history, _ := d.Headers["x-death"].([]any)
	for _, entry := range history {
		death, _ := entry.(amqp.Table)
		if death["queue"] == queue && death["reason"] == reason {
			count, _ := death["count"].(int64)
			return count
		}
	}
	return 0
}
