-- Makes wrk send reserves, each for a new customer, of the item "sku-0" of the sale "measured":
--   wrk -t2 -c256 -d3 -s loadtest/reserves.lua http://127.0.0.1:8080
-- `measure ceiling` answers the same requests.

local threads = 0

function setup(thread)
    thread:set("number", threads)
    threads = threads + 1
end

function init()
    -- Of another second's customers: a service that is asked twice meets nobody again.
    prefix = os.time() .. "-" .. number .. "-"
    asked = 0
end

function request()
    asked = asked + 1
    local body = '{"customer":"' .. prefix .. asked .. '","lines":[{"sku":"sku-0","quantity":1}]}'
    return wrk.format("POST", "/v1/sales/measured/reservations", { ["Content-Type"] = "application/json" }, body)
end
