# Sends a plan over one connection:  ruby plan.rb PORT LOG PLAN
# A line of JSON for each answer: id, status, body.
require "json"
require "net/http"
require "openssl"

port, log, path = ARGV
http = Net::HTTP.new("127.0.0.1", port.to_i, nil)
http.use_ssl = true
http.verify_mode = OpenSSL::SSL::VERIFY_NONE
http.start do
  File.open(log, "a") do |out|
    JSON.parse(File.read(path)).each do |planned|
      body = planned["body"].unpack1("m")
      kind = Net::HTTP.const_get(planned["method"].capitalize)
      request = kind.new(planned["target"], planned["headers"].to_h.merge("accept-encoding" => "identity"))
      request.body = body unless body.empty?
      answer = http.request(request)
      out.puts [planned["id"], answer.code.to_i, [answer.body].pack("m0")].to_json
    end
  end
end
