# bunny's integration specs (Ruby), with those of recovery, which close connections through the
# management API. The gems come as Debian's packages: ruby-amq-protocol, ruby-sorted-set,
# ruby-rspec. A small client of the management API stands in for the gem of that name.
exceptions=".*publishing_edge_cases_spec.*payload (exceeding 128 Kb|of several MBs of non-ASCII).*	RabbitMQ before 4.0: messages of 128 MiB; since then 16 MiB, as here
.*when a stream 'queue' is declared.*	Leveret has no streams
.*default_queue_type_spec.*stream.*	Leveret has no streams"

suite() {
    local specs
    needs ruby rspec && debian_source ruby-bunny=2.23.0 && cd "$work/ruby-bunny" || return
    local vhosts="bunny_testbed bunny_dqt_classic bunny_dqt_quorum bunny_dqt_stream"
    user_of bunny_gem bunny_password "" && may_everything bunny_gem $vhosts && may_everything guest $vhosts &&
        user_of bunny_reader reader_password "" &&
        management PUT permissions/bunny_testbed/bunny_reader '{"configure":"^---$","write":"^---$","read":".*"}' || return
    for type in classic quorum stream; do
        management PUT "vhosts/bunny_dqt_$type" "{\"default_queue_type\":\"$type\"}" || [ "$type" = stream ] || return
    done
    stand_ins && sed -i '/bundler/d; /Bundler.require/d' spec/spec_helper.rb || return
    specs=$(ls spec/{higher,lower}_level_api/integration/*_spec.rb spec/issues/*_spec.rb | grep -v tls_connection)
    RUBYLIB=$work/stub:lib RUBYOPT='-rtoxiproxy' redirected timeout 1500 rspec --options /dev/null --format json --out "$work/results.json" \
        ${pattern:+--example "$pattern"} $specs >"$work/output" 2>&1
    [ -s "$work/results.json" ] || tail -30 "$work/output" >&2
    ruby -rjson -e '
        JSON.parse(File.read(ARGV[0]))["examples"].each do |example|
          result = {"passed" => "pass", "pending" => "skip"}.fetch(example["status"], "FAIL")
          puts "#{result} #{example["file_path"].sub("./spec/", "")}: #{example["full_description"]}".tr("\n\t", "  ")
          next unless example["exception"]
          said = [example["exception"]["message"], *example["exception"]["backtrace"].to_a.first(8)]
          STDERR.puts said.join("\n").gsub(/^/, "       ") if result == "FAIL"
        end' "$work/results.json"
}

stand_ins() {
    mkdir -p "$work/stub/rabbitmq/http" && cat >"$work/stub/toxiproxy.rb" <<'EOF' && cat >"$work/stub/rabbitmq/http/client.rb" <<'EOF2'
module Toxiproxy
  def self.running? = false
end
EOF
require "json"
require "net/http"
require "ostruct"
require "uri"

module Faraday
  class ResourceNotFound < StandardError; end
end

module RabbitMQ
  module HTTP
    class Client
      def initialize(endpoint)
        @endpoint = URI(endpoint)
      end

      def list_connections = list("connections")
      def list_channels = list("channels")
      def list_queues(vhost = nil) = list("queues", vhost)
      def list_exchanges(vhost = nil) = list("exchanges", vhost)

      def close_connection(name)
        ask(Net::HTTP::Delete, "connections/" + escape(name))
      end

      private

      def list(what, vhost = nil)
        answer = ask(Net::HTTP::Get, vhost ? "#{what}/#{escape(vhost)}" : what)
        JSON.parse(answer.body).map { |each| OpenStruct.new(each) }
      end

      def ask(method, path)
        request = method.new("/api/" + path)
        request.basic_auth("guest", "guest")
        answer = Net::HTTP.start(@endpoint.host, @endpoint.port) { |http| http.request(request) }
        raise Faraday::ResourceNotFound if answer.code == "404"
        answer
      end

      def escape(name) = URI.encode_www_form_component(name).gsub("+", "%20")
    end
  end
end
EOF2
}
